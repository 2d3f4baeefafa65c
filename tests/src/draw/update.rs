//! Random updates of a random world, and packets whose verdict depends on nothing that came before them.

use std::net::IpAddr;

use super::{Aim, SCHOOLS, Told, World, destination, name, profile, subject, tier};
use crate::dns::{Query, kind};
use crate::frames::Path;
use crate::reference::{Entry, Profile, Tier};
use crate::setup::Setup;

/// A datagram that stands for itself: a DNS query, or one to an address.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The frame.
    pub frame: Vec<u8>,
    school: usize,
    destination: IpAddr,
    port: u16,
    question: Option<(String, u16)>,
}

impl Probe {
    /// What must become of it under a setup with the same schools.
    #[must_use]
    pub fn want(&self, setup: &Setup) -> Option<Told> {
        let aim = Aim {
            entries: &setup.entries,
            profile: &setup.schools.get(self.school)?.profile,
            destination: self.destination,
            port: self.port,
            asks: String::new(),
        };
        let frame = self.frame.clone();
        let shot = match &self.question {
            Some((name, kind)) => aim.query(frame, name, *kind),
            None => aim.datagram(frame),
        };
        Some(shot.want)
    }

    /// What it asks, for a failure's report.
    #[must_use]
    pub fn asks(&self) -> String {
        let Probe {
            school,
            destination,
            port,
            question,
            ..
        } = self;
        format!("school {school} asks {destination} port {port}: {question:?}")
    }
}

/// What an update changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Lists that block.
    Blocks,
    /// Lists of the schools' own.
    Locals,
    /// Any list.
    Lists,
    /// What the schools restrict.
    Profiles,
    /// Both.
    All,
}

impl Change {
    /// All kinds.
    pub const ALL: [Change; 5] = [
        Change::Blocks,
        Change::Locals,
        Change::Lists,
        Change::Profiles,
        Change::All,
    ];

    /// Whether it may touch entries of this tier.
    fn touches(self, tier: Tier) -> bool {
        let local = matches!(tier, Tier::Local(_) | Tier::Infrastructure);
        match self {
            Change::Blocks => !local,
            Change::Locals => local,
            Change::Lists | Change::All => true,
            Change::Profiles => false,
        }
    }
}

impl World {
    /// The setup after an update. Numbers of entries differ: their places do.
    pub fn later(&mut self, change: Change) -> Setup {
        let mut setup = self.setup.clone();
        let random = &mut self.random;
        setup
            .entries
            .retain(|entry| !change.touches(entry.tier) || !random.once_in(3));
        for entry in &mut setup.entries {
            let other = tier(random);
            let engine = matches!(other, Tier::Canary | Tier::Ech | Tier::Engine(_));
            if change.touches(entry.tier) && change.touches(other) && !engine && random.once_in(2) {
                entry.tier = other;
            }
        }
        for _ in 0..random.below(12) {
            let tier = tier(random);
            let engine = matches!(tier, Tier::Canary | Tier::Ech | Tier::Engine(_));
            if change.touches(tier) && !engine {
                let subject = subject(random);
                setup.entries.push(Entry { subject, tier });
            }
        }
        if matches!(change, Change::Profiles | Change::All) {
            for school in &mut setup.schools {
                if random.once_in(2) {
                    school.profile = Profile {
                        bypass: school.profile.bypass,
                        ..profile(random)
                    };
                }
            }
        }
        setup
    }

    /// A datagram whose verdict depends on nothing that came before it.
    pub fn probe(&mut self) -> Option<Probe> {
        self.flows = self.flows.wrapping_add(1);
        let random = &mut self.random;
        let school = random.below(SCHOOLS.len());
        let (_, four, six, _) = SCHOOLS.get(school)?;
        let destination = destination(random, &self.setup.entries);
        let source = if destination.is_ipv4() { four } else { six };
        let question = random.below(4) != 0;
        let port = if question { 53 } else { 8_443 };
        let path = Path {
            sport: 1_024 + self.flows % 60_000,
            dport: port,
            ..Path::between(source, &destination.to_string())
        };
        let question = question.then(|| (name(random, &self.setup.entries), kind::A));
        let frame = match &question {
            Some((name, kind)) => path.udp(&Query::of(name, *kind).bytes()),
            None => path.udp(b"question"),
        };
        Some(Probe {
            frame,
            school,
            destination,
            port,
            question,
        })
    }
}
