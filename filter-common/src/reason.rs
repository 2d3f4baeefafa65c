//! Why: one number of one list. It is the counter's index, the metric's label and the log's word.
//! Every packet of an enrolled organisation ends in exactly one. Passes stand below 32, those in another
//! form from 27 on, blocks and warnings from 32 to 47, what is held, refused or turned to another protocol above. A number is
//! never reused within an ABI.

use crate::verdict::Verdict;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $label:literal, $verdict:ident;)+) => {
        /// A numbered reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Reason {
            /// Every reason in use.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The reason with this number, if there is one.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Reason> {
                match number { $($number => Some(Reason::$name),)+ _ => None }
            }

            /// The word for logs, metrics and JSON.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Reason::$name => $label,)+ }
            }

            /// One sentence of help.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+),)+ }
            }

            /// What a packet with this reason meets.
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$name => Verdict::$verdict,)+ }
            }
        }
    };
}

reasons! {
    /// Destination is the portal, a configured resolver or other infrastructure of the provider.
    PassInfrastructure = 1, "pass_infrastructure", Pass;
    /// The organisation's timed bypass is in force.
    PassBypass = 2, "pass_bypass", Pass;
    /// A local allow list or a permitted service names the destination.
    PassLocalAllow = 3, "pass_local_allow", Pass;
    /// TCP data behind the point where the flow was judged.
    PassData = 4, "pass_data", Pass;
    /// TCP segment without payload.
    PassNoPayload = 5, "pass_no_payload", Pass;
    /// SYN: the flow's entry was made.
    PassSyn = 6, "pass_syn", Pass;
    /// Segment of a ClientHello whose name is not complete yet.
    PassHelloPart = 7, "pass_hello_part", Pass;
    /// ClientHello whose name no entry and no policy forbids.
    PassHelloName = 8, "pass_hello_name", Pass;
    /// ClientHello without a server name.
    PassHelloNoName = 9, "pass_hello_no_name", Pass;
    /// First data of the flow is neither a TLS ClientHello nor an HTTP request.
    PassNotTls = 10, "pass_not_tls", Pass;
    /// Retransmission of bytes that passed before, unchanged.
    PassRetransmission = 11, "pass_retransmission", Pass;
    /// UDP datagram.
    PassUdp = 12, "pass_udp", Pass;
    /// Other protocol than TCP and UDP.
    PassOtherProtocol = 13, "pass_other_protocol", Pass;
    /// Later fragment of a UDP datagram, whose first fragment is judged.
    PassUdpFragment = 14, "pass_udp_fragment", Pass;
    /// TCP data of a flow whose start was not seen, and which starts no ClientHello.
    PassNoFlow = 15, "pass_no_flow", Pass;
    /// The operator's switch that passes everything is on.
    PassAll = 16, "pass_all", Pass;
    /// Warned of, and the client's address has a grant: a person read the warning and goes on.
    PassGrant = 17, "pass_grant", Pass;
    /// DNS query for a name that no entry and no policy forbids.
    PassDnsName = 18, "pass_dns_name", Pass;
    /// DNS message to port 53 that asks for no name of the Internet: the root, another class, an answer, another operation.
    PassDnsOther = 19, "pass_dns_other", Pass;
    /// HTTP request for a host and path that no entry and no policy forbids.
    PassRequestName = 20, "pass_request_name", Pass;
    /// Segment of an HTTP request that is not complete yet.
    PassRequestPart = 21, "pass_request_part", Pass;
    /// HTTP request that names no host.
    PassRequestNoName = 22, "pass_request_no_name", Pass;
    /// Packet from the internet side to an organisation.
    PassInward = 23, "pass_inward", Pass;
    /// HTTPS or SVCB query, answered with nothing so that no key of Encrypted ClientHello is learnt; the name is reached by its addresses.
    PassDnsWithheld = 27, "pass_dns_withheld", Pass;
    /// DNS query for the name of a search engine, answered with the address of its safe form.
    PassSafeSearch = 28, "pass_safe_search", Pass;
    /// QUIC that the profile lets pass unread.
    PassQuic = 24, "pass_quic", Pass;
    /// First packet of a QUIC client, of which a copy was handed over so that its name is read.
    PassQuicPart = 25, "pass_quic_part", Pass;
    /// QUIC of a flow whose name no entry and no policy forbids.
    PassQuicName = 26, "pass_quic_name", Pass;
    /// Destination address is in the unified registry.
    BlockUnifiedAddress = 32, "block_unified_address", Block;
    /// Destination address is in the education registry.
    BlockNsorAddress = 33, "block_nsor_address", Block;
    /// Destination address is on a local deny list or belongs to a denied service.
    BlockLocalAddress = 34, "block_local_address", Block;
    /// Destination address has a category above the age mark.
    BlockAgeAddress = 35, "block_age_address", Block;
    /// Server name is in the unified registry.
    BlockUnifiedName = 36, "block_unified_name", Block;
    /// Server name is in the education registry.
    BlockNsorName = 37, "block_nsor_name", Block;
    /// Server name is on a local deny list or belongs to a denied service.
    BlockLocalName = 38, "block_local_name", Block;
    /// Server name has a category above the age mark.
    BlockAgeName = 39, "block_age_name", Block;
    /// The profile allows listed destinations only, and this one is not listed or shows no name.
    BlockAllowOnly = 40, "block_allow_only", Block;
    /// Destination address is suspicious or in a warned category.
    WarnAddress = 41, "warn_address", Warn;
    /// Server name is suspicious or in a warned category.
    WarnName = 42, "warn_name", Warn;
    /// Forbidden, or to be answered here, behind MPLS, where no return label is configured: dropped without an answer.
    BlockMplsNoReturn = 43, "block_mpls_no_return", Block;
    /// Connection or datagram to port 853 (DNS over TLS or QUIC), or to the address of a resolver that is asked by encrypted DNS.
    BlockEncryptedDns = 44, "block_encrypted_dns", Block;
    /// Server name is that of a resolver that is asked by encrypted DNS.
    BlockEncryptedDnsName = 45, "block_encrypted_dns_name", Block;
    /// Name by which devices find out whether they may hide what they ask: they learn that they may not.
    BlockCanaryName = 46, "block_canary_name", Block;
    /// Server name is the public one behind which Encrypted ClientHello hides the real one.
    BlockEchName = 47, "block_ech_name", Block;
    /// Segment out of order while the ClientHello is unfinished.
    HoldOutOfOrder = 48, "hold_out_of_order", Hold;
    /// Retransmission whose bytes differ from, or cannot be compared with, those that passed.
    HoldAltered = 49, "hold_altered", Hold;
    /// SYN in the middle of an unfinished start of a flow.
    HoldSyn = 50, "hold_syn", Hold;
    /// SYN above the organisation's limit of new flows.
    HoldSynLimit = 51, "hold_syn_limit", Hold;
    /// The flow's set is claimed by another processor, or flows are being handed to a new program.
    HoldBusy = 52, "hold_busy", Hold;
    /// No slot is free for a new flow or an unfinished ClientHello.
    HoldNoSlot = 53, "hold_no_slot", Hold;
    /// Fragment of TCP, or first fragment of UDP to port 53 or 443.
    RefuseFragment = 54, "refuse_fragment", Refuse;
    /// More tags, labels or extension headers than are read.
    RefuseHeaders = 55, "refuse_headers", Refuse;
    /// Data in a SYN (TCP Fast Open): refused so that it comes again after the handshake.
    RefuseSynData = 56, "refuse_syn_data", Refuse;
    /// Urgent data before the flow was judged: the server's stream would differ from the judged one.
    RefuseUrgent = 57, "refuse_urgent", Refuse;
    /// Lengths of the network or transport header do not agree with the frame.
    RefuseMalformed = 58, "refuse_malformed", Refuse;
    /// The step budget of the ClientHello parser ran out.
    RefuseStepLimit = 59, "refuse_step_limit", Refuse;
    /// State of an unfinished ClientHello was lost: the client is reset.
    RefuseStateLost = 60, "refuse_state_lost", Refuse;
    /// Too many segments of the flow were held: the client is reset rather than starved.
    RefuseStarved = 61, "refuse_starved", Refuse;
    /// ClientHello with a server name that no server accepts.
    RefuseHelloName = 62, "refuse_hello_name", Refuse;
    /// Frame that the program could not read back after it had measured it; a fault to report.
    RefuseInternal = 63, "refuse_internal", Refuse;
    /// Datagram to port 53 that is no sound DNS query: too short or too long, a name that does not end, compression in the question.
    RefuseDnsMalformed = 64, "refuse_dns_malformed", Refuse;
    /// DNS query with several questions: no server answers them, and only one would be judged.
    RefuseDnsQuestions = 65, "refuse_dns_questions", Refuse;
    /// HTTP request that servers understand differently or not at all: two hosts, two lengths, folded lines.
    RefuseHttpMalformed = 66, "refuse_http_malformed", Refuse;
    /// HTTP/2 without TLS: its names are not read.
    RefuseHttp2 = 67, "refuse_http2", Refuse;
    /// Packet of a connection whose request was answered or refused: the client is reset.
    RefuseEnded = 68, "refuse_ended", Refuse;
    /// DNS query over TCP that would be answered in another form: its client is reset.
    RefuseDnsForm = 69, "refuse_dns_form", Refuse;
    /// First packet of a QUIC client, turned to TCP by the profile: answered by Version Negotiation.
    FallbackQuicPolicy = 70, "fallback_quic_policy", Fallback;
    /// First packets of a QUIC client whose name cannot be read: another version, or a hello that is none. Turned to TCP likewise.
    FallbackQuicUnread = 71, "fallback_quic_unread", Fallback;
    /// First packet of a QUIC client whose name nobody is there to read, or has the time to. Turned to TCP likewise.
    FallbackQuicBusy = 72, "fallback_quic_busy", Fallback;
    /// QUIC packet of a client that can have no connection yet, or that no server takes: dropped.
    RefuseQuic = 73, "refuse_quic", Refuse;
    /// Packet from the internet side of a QUIC flow that is stopped: the server's late answers.
    RefuseInward = 74, "refuse_inward", Refuse;
}

impl Reason {
    /// The number as an index of counters.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Reasons from [`FIRST_NOT_PASS`] up to this number block or warn.
pub const LAST_BLOCK: u32 = 47;
/// Reasons below this number pass.
pub const FIRST_NOT_PASS: u32 = 32;
/// Reasons from this number up to [`FIRST_NOT_PASS`] are passes in another form: the query is answered here.
pub const FIRST_ANSWERED: u32 = 27;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counter_indexes_and_tell_pass_from_the_rest() {
        for reason in Reason::ALL {
            let number = reason.number();
            assert!(number > 0 && number < crate::limits::REASONS as u32);
            assert_eq!(
                number < FIRST_NOT_PASS,
                reason.verdict() == Verdict::Pass,
                "{reason:?}"
            );
            assert_eq!(Reason::from_number(number), Some(*reason));
        }
    }
}
