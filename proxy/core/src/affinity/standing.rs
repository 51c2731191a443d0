//! Who of an upstream's backends may be given anything new, from how each of them stands.
//!
//! Backends that are wanted least are left out as long as others are left: backups for primary ones, suspects for
//! healthy ones, full ones for those with room. None of these can leave an upstream without backends; only
//! configuration and active checks can.

/// What a backend is meant to do, by configuration or order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum State {
    /// It serves.
    #[default]
    Up,
    /// It keeps the sessions it has and gets no new ones.
    Drain,
    /// It gets nothing. Tunnels that are open go on.
    Maintenance,
}

/// What is known of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Health {
    /// Nothing to the contrary.
    #[default]
    Up,
    /// Requests to it have failed lately.
    Suspect,
    /// Checks have failed.
    Down,
}

/// One backend of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Member {
    pub state: State,
    pub health: Health,
    /// Gets new sessions only while no other backend can.
    pub backup: bool,
    /// Rather not now: it has as many connections as it may, or it starts slowly and this is not for it.
    pub reluctant: bool,
}

impl Member {
    /// Sessions that it has are served by it.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.state != State::Maintenance && self.health != Health::Down
    }

    fn may_be_given(&self) -> bool {
        self.state == State::Up && self.health != Health::Down
    }
}

/// Those of an upstream's backends that are given what is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tier {
    backup: bool,
    suspect: bool,
    reluctant: bool,
}

/// How many of a kind there are.
#[derive(Clone, Copy, Default)]
struct Count {
    all: u64,
    /// Not suspect.
    healthy: u64,
}

impl Tier {
    /// The tier of an upstream of these members. Where fewer than `panic_percent` of the primary or backup ones that
    /// may be given anything are free of suspicion, suspicion is not heeded: more likely it is wrong.
    pub fn of(members: impl Iterator<Item = Member> + Clone, panic_percent: u64) -> Self {
        let (mut primary, mut backups) = (Count::default(), Count::default());
        for member in members.clone().filter(Member::may_be_given) {
            let count = if member.backup { &mut backups } else { &mut primary };
            count.all += 1;
            count.healthy += u64::from(member.health == Health::Up);
        }
        // Healthy backups are what there is for the case that no primary one is healthy.
        let backup = primary.healthy == 0 && (backups.healthy > 0 || primary.all == 0);
        let Count { all, healthy } = if backup { backups } else { primary };
        let suspect = healthy == 0 || healthy * 100 < all * panic_percent;
        let tier = Self { backup, suspect, reluctant: true };
        let reluctant = !members.clone().any(|member| !member.reluctant && tier.takes(&member));
        Self { reluctant, ..tier }
    }

    /// Whether a member is given what is new.
    #[must_use]
    pub fn takes(self, member: &Member) -> bool {
        member.may_be_given()
            && member.backup == self.backup
            && (self.suspect || member.health == Health::Up)
            && (self.reluctant || !member.reluctant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: Member = Member { state: State::Up, health: Health::Up, backup: false, reluctant: false };
    const SUSPECT: Member = Member { health: Health::Suspect, ..UP };
    const DOWN: Member = Member { health: Health::Down, ..UP };
    const BACKUP: Member = Member { backup: true, ..UP };
    const FULL: Member = Member { reluctant: true, ..UP };

    /// Indexes of those that are given what is new.
    fn given(members: &[Member]) -> Vec<usize> {
        let tier = Tier::of(members.iter().copied(), 50);
        members.iter().enumerate().filter(|(_, member)| tier.takes(member)).map(|(index, _)| index).collect()
    }

    #[test]
    fn those_wanted_least_are_left_out_as_long_as_others_are_left() {
        assert_eq!(given(&[UP, BACKUP, SUSPECT]), [0]);
        assert_eq!(given(&[DOWN, BACKUP]), [1]);
        assert_eq!(given(&[SUSPECT, BACKUP]), [1]);
        assert_eq!(given(&[SUSPECT, Member { health: Health::Suspect, ..BACKUP }]), [0]);
        assert_eq!(given(&[UP, FULL]), [0]);
        assert_eq!(given(&[FULL, FULL, BACKUP]), [0, 1], "a full upstream does not overflow to its backups");
        assert_eq!(given(&[DOWN, Member { state: State::Drain, ..UP }]), [0; 0]);
    }

    #[test]
    fn suspicion_of_most_is_not_heeded() {
        assert_eq!(given(&[UP, UP, SUSPECT, SUSPECT]), [0, 1]);
        assert_eq!(given(&[UP, SUSPECT, SUSPECT]), [0, 1, 2]);
        assert_eq!(given(&[SUSPECT, SUSPECT]), [0, 1]);
    }

    #[test]
    fn a_session_is_served_unless_its_backend_is_down_or_in_maintenance() {
        let states = [State::Up, State::Drain, State::Maintenance];
        assert_eq!(states.map(|state| Member { state, ..UP }.serves()), [true, true, false]);
        assert_eq!([SUSPECT, DOWN, FULL].map(|member| member.serves()), [true, false, true]);
    }

    fn member() -> impl Strategy<Value = Member> {
        let state = prop::sample::select(vec![State::Up, State::Drain, State::Maintenance]);
        let health = prop::sample::select(vec![Health::Up, Health::Suspect, Health::Down]);
        (state, health, any::<bool>(), any::<bool>()).prop_map(|(state, health, backup, reluctant)| Member {
            state,
            health,
            backup,
            reluctant,
        })
    }

    proptest! {
        #[test]
        fn nobody_is_left_out_for_good_and_nobody_is_given_what_it_must_not_have(
            members in prop::collection::vec(member(), 0..9), panic_percent in 0..101_u64,
        ) {
            let tier = Tier::of(members.iter().copied(), panic_percent);
            let taken: Vec<_> = members.iter().filter(|member| tier.takes(member)).collect();
            prop_assert!(taken.iter().all(|member| member.state == State::Up && member.health != Health::Down));
            let any = members.iter().any(|member| member.state == State::Up && member.health != Health::Down);
            prop_assert_eq!(!taken.is_empty(), any);
            prop_assert!(taken.windows(2).all(|two| two[0].backup == two[1].backup));
        }
    }
}
