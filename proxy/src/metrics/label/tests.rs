//! Labels say what they are named after.

use super::*;

#[test]
fn a_status_is_counted_under_its_own_number() {
    for status in 0..=999 {
        let label = AnswerStatus::VALUES[AnswerStatus::of(status).index()];
        let own = status.to_string();
        assert_eq!(label == own, AnswerStatus::VALUES.contains(&own.as_str()), "{status}");
    }
}

#[test]
fn a_downgrade_is_counted_under_its_own_name() {
    for downgrade in Downgrade::ALL {
        assert_eq!(Downgraded::VALUES[Downgraded::of(downgrade).index()], downgrade.name());
    }
}

#[test]
fn classes_hold_what_their_names_say() {
    for status in [101, 200, 304, 404, 502] {
        let class = StatusClass::VALUES[StatusClass::of(status).index()];
        assert_eq!(class.as_bytes()[0], status.to_string().as_bytes()[0]);
    }
    assert_eq!(Method::of(b"GET"), Method::Get);
    assert_eq!(Method::of(b"get"), Method::Other);
}
