//! What a packet meets, and how that is carried out.

/// The judgement on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// Goes on untouched.
    Pass,
    /// Forbidden by an entry or a policy.
    Block,
    /// Needs the person's consent, by an entry or a policy.
    Warn,
    /// Dropped only so that it is sent again in order.
    Hold,
    /// Hygiene: a fragment, a header or step limit, data in a SYN.
    Refuse,
    /// QUIC turned to TCP.
    Fallback,
}

impl Verdict {
    /// The word for logs and JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Block => "block",
            Verdict::Warn => "warn",
            Verdict::Hold => "hold",
            Verdict::Refuse => "refuse",
            Verdict::Fallback => "fallback",
        }
    }
}

/// How a verdict is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// The frame goes on (`XDP_PASS`).
    Pass = 0,
    /// The frame is dropped (`XDP_DROP`).
    Drop = 1,
    /// The frame is turned into a TCP reset to its sender (`XDP_TX`).
    Reset = 2,
    /// The frame is turned into the answer to its query (`XDP_TX`).
    Answer = 3,
    /// The frame is turned into a redirect to the page that says why (`XDP_TX`).
    Redirect = 4,
}

impl Action {
    /// The action with this number; an unknown number is the safe one.
    #[must_use]
    pub fn from_number(number: u32) -> Action {
        match number {
            0 => Action::Pass,
            2 => Action::Reset,
            3 => Action::Answer,
            4 => Action::Redirect,
            _ => Action::Drop,
        }
    }

    /// The word for logs and JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Reset => "reset",
            Action::Answer => "answer",
            Action::Redirect => "redirect",
        }
    }
}
