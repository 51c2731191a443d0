//! The table of a run for people, in Markdown. Pure.

use std::fmt::Write;

use crate::peer::Kind;
use crate::report::{Contestant, Figures, Outcome, Report, Run};
use crate::statistics::three_figures;

/// The whole document.
pub(crate) fn document(report: &Report) -> String {
    let mut text = String::from("# Ringbolt beside its peers\n\n");
    text.push_str(
        "Written by the command below; [what the rows mean](../README.md). One worker each, on a core of its own. \
         Figures are medians.\n\n",
    );
    // Writing to a String cannot fail.
    let _ = write_run(&report.run, &report.contestants, &mut text);
    let _ = write_costs(report, &mut text);
    let _ = write_latencies(report, &mut text);
    let _ = write_refusals(report, &mut text);
    text
}

/// Where and how it was measured, as the table that heads a document.
pub(crate) fn write_run(run: &Run, contestants: &[Contestant], text: &mut String) -> std::fmt::Result {
    writeln!(text, "| | |\n| --- | --- |")?;
    writeln!(text, "| command | `{}` |", run.command)?;
    writeln!(text, "| commit | {} |", run.commit)?;
    writeln!(text, "| machine | {} |", run.machine)?;
    writeln!(text, "| kernel | {} |", run.kernel)?;
    writeln!(text, "| network | loopback {}; congestion control {} |", run.network, run.congestion_control)?;
    for contestant in contestants {
        let threads = contestant.threads.join(", ");
        writeln!(text, "| {} | {}; threads: {threads} |", contestant.name, contestant.version)?;
    }
    writeln!(
        text,
        "| run | {} rounds of {} s a figure, {:.0} s in all, at {} |",
        run.rounds, run.seconds_measured, run.seconds_in_all, run.priority
    )?;
    let load = run.load_average_before.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
    writeln!(
        text,
        "| disturbance | load average before the run {load}; other programs took {:.0} % of the proxies' core |\n",
        run.foreign * 100.0
    )
}

fn write_costs(report: &Report, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "## Cost\n\nMedian, and in brackets how far the rounds are apart, as a part of it; then the medians of the rounds' \
         ratios.\n"
    )?;
    writeln!(
        text,
        "| measure | unit | Ringbolt | nginx | HAProxy | of nginx | of HAProxy | bar | reached |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for row in &report.rows {
        let Outcome::Figures(figures) = &row.outcome else {
            writeln!(text, "| {} | {} | refused | | | | | | |", row.title, row.unit)?;
            continue;
        };
        write!(text, "| {} | {} |", row.title, row.unit)?;
        for Figures { cost, .. } in figures {
            write!(
                text,
                " {} ({}) |",
                three_figures(cost.median),
                percent(cost.most - cost.least, cost.median)
            )?;
        }
        for other in [Kind::Nginx, Kind::Haproxy] {
            write!(text, " {} |", row.ratio(other).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")))?;
        }
        let reached = row.reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
        writeln!(text, " {} | {reached} |", String::from(row.bar))?;
    }
    writeln!(text)
}

fn write_latencies(report: &Report, text: &mut String) -> std::fmt::Result {
    writeln!(text, "## Latency and saturation\n")?;
    writeln!(
        text,
        "p50 / p99 / p99.9 in microseconds; part of the time each proxy, and the load at its side, was running.\n"
    )?;
    writeln!(
        text,
        "| measure | Ringbolt | nginx | HAProxy | Ringbolt busy, load | nginx busy, load | HAProxy busy, load |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for row in &report.rows {
        let Outcome::Figures(figures) = &row.outcome else { continue };
        if figures.iter().all(|figures| figures.proxy_busy < 0.001) {
            continue;
        }
        write!(text, "| {} |", row.title)?;
        for figures in figures {
            let latencies = [figures.p50_microseconds, figures.p99_microseconds, figures.p999_microseconds];
            let cell: Vec<String> = latencies.into_iter().flatten().map(three_figures).collect();
            write!(text, " {} |", if cell.is_empty() { "-".to_owned() } else { cell.join(" / ") })?;
        }
        for figures in figures {
            write!(text, " {}, {} |", percent(figures.proxy_busy, 1.0), percent(figures.load_busy, 1.0))?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

fn write_refusals(report: &Report, text: &mut String) -> std::fmt::Result {
    for row in &report.rows {
        if let Outcome::Refused(reason) = &row.outcome {
            writeln!(text, "Refused: {}: {reason}\n", row.title)?;
        }
    }
    Ok(())
}

pub(crate) fn percent(part: f64, of: f64) -> String {
    if of > 0.0 { format!("{:.0} %", 100.0 * part / of) } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::LOADED;
    use crate::report::{Contestant, Rounds, Row, Run};
    use crate::sample::{Latency, Sample};

    fn report(rows: Vec<Row>) -> Report {
        let run = Run {
            command: "cargo xtask bench peers".to_owned(),
            commit: "abc".to_owned(),
            machine: "m".to_owned(),
            kernel: "k".to_owned(),
            network: "in a network namespace of its own".to_owned(),
            congestion_control: "cubic".to_owned(),
            priority: "nice 0".to_owned(),
            rounds: 3,
            seconds_measured: 1.0,
            seconds_in_all: 100.0,
            load_average_before: Some(0.5),
            foreign: 0.02,
        };
        let contestants =
            vec![Contestant { name: "nginx", version: "1.0".to_owned(), threads: vec!["a".to_owned()] }];
        Report { run, contestants, rows }
    }

    fn rounds(figures: &[f64]) -> Rounds {
        let latency = Some(Latency { p50: 1.0, p99: 20.0, p999: 3000.0 });
        let sample =
            |figure: &f64| Ok(Sample { figure: *figure, latency, proxy_busy: 0.5, ..Sample::default() });
        figures.iter().map(sample).collect()
    }

    #[test]
    fn a_row_shows_spread_ratios_bar_and_latencies() {
        let get = &LOADED[0].cost;
        let row = Row::new(get, &[rounds(&[7.0, 8.0, 90.0]), rounds(&[10.0; 3]), rounds(&[16.0; 3])]);
        let text = document(&report(vec![row]));
        let cost =
            "| CPU µs | 8.00 (1038 %) | 10.0 (0 %) | 16.0 (0 %) | 0.80 | 0.50 | 0.75 of nginx | **no** |";
        assert!(text.contains(cost), "{text}");
        assert!(text.contains("| 1.00 / 20.0 / 3,000 | 1.00 / 20.0 / 3,000 |"), "{text}");
        assert!(
            text.contains(
                "| network | loopback in a network namespace of its own; congestion control cubic |"
            )
        );
    }

    #[test]
    fn a_refused_row_says_why() {
        let faulty = vec![Err("2 faults; first: status 502".to_owned())];
        let row = Row::new(&LOADED[0].cost, &[rounds(&[1.0]), faulty, rounds(&[1.0])]);
        let report = report(vec![row]);
        assert_eq!(report.refused(), 1);
        let text = document(&report);
        assert!(
            text.contains("| refused |") && text.contains("nginx: 2 faults; first: status 502"),
            "{text}"
        );
    }
}
