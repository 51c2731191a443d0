//! What each kind of evidence promises to sessions, when edges and backends come and go.
//!
//! Fails with sessions that tags, the directory or asking lose though their backends have them, with questions that
//! nothing bounds, or where a list's order or an edge's memory decides what names should. The same histories at full
//! size are `cargo xtask bench edges`.
#![forbid(unsafe_code)]

use ringbolt_sim::fleet::{Chapter, Event, Mode, Settings, play};

const EDGES: usize = 10;
const BACKENDS: usize = 20;
const SESSIONS: usize = 2000;

fn history(mode: Mode, seed: u64) -> Vec<Chapter> {
    play(&Settings { mode, edges: EDGES, backends: BACKENDS, sessions: SESSIONS, seed })
}

fn of(history: &[Chapter], event: Event) -> Chapter {
    history.iter().copied().find(|chapter| chapter.event == event).expect("every event happens")
}

#[test]
fn tags_directory_and_questions_lose_no_session_that_its_backend_has() {
    for mode in [Mode::Ask, Mode::Tags, Mode::Directory] {
        for chapter in history(mode, 1) {
            assert_eq!(chapter.counts.lost, 0, "{chapter:?}");
            assert!(chapter.counts.requests > SESSIONS as u64 && chapter.counts.moved > 0, "{chapter:?}");
        }
    }
}

#[test]
fn each_mode_goes_by_its_own_evidence() {
    let counts = |mode, event| of(&history(mode, 1), event).counts;
    let restarted = counts(Mode::Tags, Event::EdgesRestart);
    assert_eq!((restarted.by_tag, restarted.questions), (restarted.requests, 0));
    let restarted = counts(Mode::Directory, Event::EdgesRestart);
    assert!(restarted.directory_reads > SESSIONS as u64 / 2, "{restarted:?}");
    assert_eq!(restarted.questions, 0, "the directory knows all");
    let alone = counts(Mode::Directory, Event::EdgesRestartWithoutDirectory);
    assert!(alone.directory_reads == 0 && alone.lookups > SESSIONS as u64 / 2, "{alone:?}");
    let guessing = counts(Mode::Table, Event::EdgesRestart);
    assert!(guessing.guessed > SESSIONS as u64 / 2 && guessing.questions == 0, "{guessing:?}");
}

#[test]
fn questions_are_few_and_bounded() {
    for chapter in history(Mode::Ask, 2) {
        let counts = chapter.counts;
        assert!(counts.questions <= counts.lookups * BACKENDS as u64 * 11 / 10, "{chapter:?}");
        assert!(
            counts.questions < 5 * counts.lookups,
            "most are at their first or second place: {chapter:?}"
        );
        // Each edge may put a second's worth at once and another within the second.
        assert!(chapter.busiest_second <= 2 * 500 * EDGES as u64, "{chapter:?}");
    }
    let restarted = of(&history(Mode::Ask, 2), Event::EdgesRestart).counts;
    assert!(restarted.lookups >= SESSIONS as u64 * 9 / 10, "each session is asked for: {restarted:?}");
}

#[test]
fn tables_alone_lose_who_is_not_where_the_address_points() {
    let restarted = of(&history(Mode::Table, 3), Event::EdgesRestart);
    let aside = restarted.guesses_miss.expect("counted with nothing but tables");
    assert!(aside > SESSIONS as u64 / 50, "the bound on load has moved some: {restarted:?}");
    let lost = restarted.counts.lost;
    // A few end by themselves before, and new ones are placed aside and lost later.
    assert!(lost * 10 >= aside * 9 && lost <= aside * 2, "{lost} of {aside}");
}

#[test]
fn sessions_end_with_their_backend_and_with_nothing_else() {
    for mode in Mode::ALL {
        for chapter in history(mode, 4) {
            let ended = chapter.counts.ended_with_backend;
            assert_eq!(ended > 0, chapter.event == Event::BackendsDie, "{chapter:?}");
            assert!(chapter.spread < 2.5, "{chapter:?}");
        }
    }
}

#[test]
fn a_history_is_the_same_each_time() {
    assert_eq!(history(Mode::Ask, 5), history(Mode::Ask, 5));
    assert_ne!(history(Mode::Ask, 5), history(Mode::Ask, 6));
}
