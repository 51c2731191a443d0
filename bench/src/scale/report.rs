//! The table of a run, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::steps::Step;
use crate::statistics::{grouped, three_figures};

/// The steps on one machine.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) kernel: String,
    pub(super) steps: Vec<Step>,
    /// Why not all tunnels were opened.
    pub(super) ended: Option<String>,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) command: String,
    pub(super) commit: String,
    pub(super) machine: String,
    pub(super) seconds: f64,
    pub(super) places: Vec<Place>,
}

/// A row: its title, and its value in each step.
type Row = (&'static str, fn(&Step) -> String);

const ROWS: [Row; 11] = [
    ("own memory, bytes a tunnel", |step| three_figures(step.own_bytes)),
    ("kernel objects of all four ends, bytes a tunnel", |step| three_figures(step.slab_bytes)),
    ("TCP buffers of all, pages", |step| grouped(step.tcp_pages)),
    ("memory left, MiB", |step| grouped(step.available_mib)),
    ("CPU of the proxy, µs a message", |step| match &step.message_microseconds {
        Ok(microseconds) => three_figures(*microseconds),
        Err(_) => "refused".to_owned(),
    }),
    ("tunnels that talk", |step| grouped(step.talking as u64)),
    ("messages measured", |step| grouped(step.messages)),
    ("CPU of the proxy with nothing moving, ms/s", |step| three_figures(step.idle_milliseconds)),
    ("threads of the proxy", |step| step.threads.len().to_string()),
    ("seconds to open them", |step| three_figures(step.seconds_to_open)),
    ("opened in a second", |step| three_figures(step.tunnels as f64 / step.seconds_to_open)),
];

impl Report {
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Ringbolt with very many tunnels\n\n\
             One proxy process with one worker; [what the rows mean](../README.md#scale).\n\n\
             | | |\n| --- | --- |\n\
             | command | `{}` |\n| commit | {} |\n| machine | {} |\n| run | {:.0} s |\n",
            self.command, self.commit, self.machine, self.seconds
        );
        for place in &self.places {
            let _ = write!(text, "\n## On {}, Linux {}\n\n", place.name, place.kernel);
            if let Some(last) = place.steps.last() {
                text.push_str(&table(&place.steps));
                text.push_str(&objects(last));
            }
            for step in &place.steps {
                if let Err(fault) = &step.message_microseconds {
                    let _ =
                        writeln!(text, "\nRefused: messages at {} tunnels: {fault}", grouped(step.tunnels));
                }
            }
            if let Some(reason) = &place.ended {
                let _ = writeln!(text, "\nEnded early: {reason}");
            }
        }
        text
    }
}

fn table(steps: &[Step]) -> String {
    let line = |title: &str, values: Vec<String>| format!("| {title} | {} |\n", values.join(" | "));
    let mut text = line("tunnels", steps.iter().map(|step| grouped(step.tunnels)).collect());
    text.push_str(&line("---", vec!["---".to_owned(); steps.len()]));
    for (title, value) in ROWS {
        text.push_str(&line(title, steps.iter().map(value).collect()));
    }
    text
}

/// The kernel's objects, at the last step.
fn objects(step: &Step) -> String {
    let shown: Vec<String> = step
        .caches
        .iter()
        .filter(|(_, bytes)| *bytes >= 1.0)
        .map(|(name, bytes)| format!("{name} {}", three_figures(*bytes)))
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    format!("\nKernel objects at {} tunnels, bytes a tunnel: {}.\n", grouped(step.tunnels), shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_ended_early_says_so_under_what_it_reached() {
        let step = Step {
            tunnels: 1000,
            seconds_to_open: 2.0,
            own_bytes: 203.4,
            slab_bytes: 17_000.0,
            caches: vec![("TCP".to_owned(), 9856.0), ("tiny".to_owned(), 0.2)],
            tcp_pages: 0,
            available_mib: 5,
            message_microseconds: Ok(50.0),
            talking: 100,
            messages: 10,
            idle_milliseconds: 0.0,
            threads: vec!["ringbolt".to_owned(), "worker-0".to_owned()],
        };
        let place = Place {
            name: "a guest".to_owned(),
            kernel: "6.12".to_owned(),
            steps: vec![
                step.clone(),
                Step { tunnels: 2345, message_microseconds: Err("no echo".to_owned()), ..step },
            ],
            ended: Some("the memory is used up at 2345 tunnels".to_owned()),
        };
        let report = Report {
            command: "x".to_owned(),
            commit: "y".to_owned(),
            machine: "z".to_owned(),
            seconds: 1.0,
            places: vec![place],
        };
        let text = report.markdown();
        assert!(text.contains("| tunnels | 1,000 | 2,345 |\n| --- | --- | --- |\n"), "{text}");
        assert!(text.contains("| own memory, bytes a tunnel | 203 | 203 |\n"), "{text}");
        assert!(text.contains("µs a message | 50.0 | refused |\n"), "{text}");
        assert!(text.contains("\nRefused: messages at 2,345 tunnels: no echo\n"), "{text}");
        assert!(text.contains("at 2,345 tunnels, bytes a tunnel: TCP 9,856.\n"), "{text}");
        assert!(text.ends_with("\nEnded early: the memory is used up at 2345 tunnels\n"), "{text}");
    }
}
