//! Plots of the tables: one SVG for each thing that is measured, drawn from the JSON file of a run.
//!
//! Bars begin at zero and share one scale within a plot; the thin line is how far the rounds are apart.
//! A plot brings its own background, so that it can be read on a light and on a dark page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::statistics::{self, three_figures};

/// Name of the JSON file in the folder of results.
const SOURCE: &str = "peers.json";
/// The same of the TLS terminators.
const TLS_SOURCE: &str = "tls.json";
/// Name of the folder of plots in it.
const FOLDER: &str = "plots";

/// File, title, and the keys of the rows, which have one unit.
type Plot = (&'static str, &'static str, &'static [&'static str]);

const TLS_PLOTS: [Plot; 3] = [
    ("tls-handshakes", "A TLS handshake", &["tls-full", "tls-resumed"]),
    ("tls-bulk", "Bulk through TLS tunnels", &["tls-bulk-1", "tls-bulk-32"]),
    ("tls-memory", "Memory of TLS", &["tls-memory"]),
];

const PLOTS: [Plot; 9] = [
    ("requests", "A request", &["get-64", "get-512", "get-rate", "get-new", "upgrade"]),
    (
        "messages",
        "A message echoed, proxy saturated",
        &["echo-64-200", "echo-1k-200", "echo-64-2000", "echo-1k-2000"],
    ),
    (
        "messages-fixed-rate",
        "A message echoed at a fixed rate",
        &["echo-rate-64-200", "echo-rate-1k-200", "echo-rate-64-2000", "echo-rate-1k-2000", "echo-silence"],
    ),
    (
        "latency",
        "Latency at a fixed rate",
        &[
            "get-rate-p99",
            "echo-rate-64-200-p99",
            "echo-rate-1k-200-p99",
            "echo-rate-64-2000-p99",
            "echo-rate-1k-2000-p99",
        ],
    ),
    ("bulk", "Bulk through tunnels", &["bulk-up-1", "bulk-down-1", "bulk-up-32", "bulk-down-32"]),
    ("memory", "Memory", &["memory-tunnel", "memory-burst", "memory-keep-alive"]),
    ("idle", "At rest", &["idle-empty", "idle-tunnels", "idle-growth", "idle-keep-alive"]),
    ("storm", "Reconnect storm: processor time", &["storm"]),
    ("storm-back", "Reconnect storm: time", &["storm-back"]),
];

#[derive(Debug, Deserialize)]
struct Table {
    contestants: Vec<Contestant>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Contestant {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    key: String,
    title: String,
    unit: String,
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Figures(Vec<Figures>),
    Refused(IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Figures {
    cost: Spread,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

/// Draws every plot of which a JSON file in this folder has a row.
pub(crate) fn draw(results: &Path) -> Result<(), String> {
    draw_from(results, SOURCE, &PLOTS)?;
    if results.join(TLS_SOURCE).is_file() { draw_from(results, TLS_SOURCE, &TLS_PLOTS) } else { Ok(()) }
}

fn draw_from(results: &Path, source: &str, plots: &[Plot]) -> Result<(), String> {
    let source = results.join(source);
    let text =
        fs::read_to_string(&source).map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let table: Table =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", source.display()))?;
    let folder = results.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    for (name, title, keys) in plots {
        let rows: Vec<&Row> =
            keys.iter().filter_map(|key| table.rows.iter().find(|row| row.key == *key)).collect();
        if let Some(svg) = svg(title, &table.contestants, &rows) {
            let path = folder.join(name).with_extension("svg");
            fs::write(&path, svg).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    Ok(())
}

const WIDTH: f64 = 640.0;
const MARGIN: f64 = 16.0;
/// Where bars begin, behind the names.
const BARS: f64 = 96.0;
/// Length of the longest, which leaves room for its figure.
const LONGEST: f64 = WIDTH - BARS - 84.0;
const TITLE: f64 = 50.0;
/// Height of a row's title.
const ROW: f64 = 20.0;
/// From one bar to the next.
const BAR: f64 = 17.0;
/// Between rows.
const GAP: f64 = 12.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.quiet{fill:#59636e}\
.paper{fill:#fff;stroke:#d1d9e0}.bar{fill:#8c959f}.own{fill:#bc4c00}.spread{stroke:#1f2328}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}.paper{fill:#0d1117;stroke:#3d444d}\
.bar{fill:#656c76}.own{fill:#db6d28}.spread{stroke:#f0f6fc}}";

/// A plot of titled rows, one figure for each contestant; `None` without rows.
pub(crate) fn of_figures(
    title: &str,
    unit: &str,
    contestants: &[&str],
    rows: Vec<(&str, Vec<statistics::Spread>)>,
) -> Option<String> {
    let contestants: Vec<_> =
        contestants.iter().map(|name| Contestant { name: (*name).to_owned() }).collect();
    let row = |(title, spreads): (&str, Vec<statistics::Spread>)| Row {
        key: String::new(),
        title: title.to_owned(),
        unit: unit.to_owned(),
        outcome: Outcome::Figures(spreads.into_iter().map(Figures::from).collect()),
    };
    let rows: Vec<Row> = rows.into_iter().map(row).collect();
    svg(title, &contestants, &rows.iter().collect::<Vec<_>>())
}

impl From<statistics::Spread> for Figures {
    fn from(statistics::Spread { median, least, most }: statistics::Spread) -> Self {
        Self { cost: Spread { median, least, most } }
    }
}

/// `None` without rows.
fn svg(title: &str, contestants: &[Contestant], rows: &[&Row]) -> Option<String> {
    let unit = &rows.first()?.unit;
    let most = rows.iter().flat_map(|row| row.figures()).map(|spread| spread.most).fold(0.0, f64::max);
    let height: f64 = TITLE + rows.iter().map(|row| row.height()).sum::<f64>() + MARGIN - GAP;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{}, {}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"29\">{}<tspan class=\"quiet\"> · {}, less is better</tspan></text>\n",
        escape(title),
        escape(unit),
        WIDTH - 1.0,
        height - 1.0,
        escape(title),
        escape(unit),
    );
    let mut top = TITLE;
    for row in rows {
        let _ = write_row(&mut out, row, contestants, top, most);
        top += row.height();
    }
    out.push_str("</svg>\n");
    Some(out)
}

fn write_row(
    out: &mut String,
    row: &Row,
    contestants: &[Contestant],
    top: f64,
    most: f64,
) -> std::fmt::Result {
    let scale = |value: f64| if most > 0.0 { value / most * LONGEST } else { 0.0 };
    writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">{}</text>", top + 12.0, escape(&row.title))?;
    if let Outcome::Refused(_) = row.outcome {
        let y = top + ROW + 12.0;
        return writeln!(out, "<text class=\"quiet\" x=\"{BARS}\" y=\"{y}\">could not be measured</text>");
    }
    for (index, (spread, contestant)) in row.figures().zip(contestants).enumerate() {
        let y = top + ROW + BAR * index as f64;
        let (length, text) = (scale(spread.median), y + 11.0);
        let class = if index == 0 { "own" } else { "bar" };
        writeln!(
            out,
            "<text class=\"quiet\" x=\"{MARGIN}\" y=\"{text}\">{}</text>",
            escape(&contestant.name)
        )?;
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{BARS}\" y=\"{y}\" width=\"{:.1}\" height=\"14\"/>",
            length.max(1.0)
        )?;
        let (from, to, middle) = (BARS + scale(spread.least), BARS + scale(spread.most), y + 7.0);
        writeln!(
            out,
            "<line class=\"spread\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
        )?;
        let behind = to.max(BARS + length) + 6.0;
        writeln!(out, "<text x=\"{behind:.1}\" y=\"{text}\">{}</text>", three_figures(spread.median))?;
    }
    Ok(())
}

impl Row {
    /// In the order of the contestants; none of a refused row.
    fn figures(&self) -> impl Iterator<Item = Spread> {
        let figures = match &self.outcome {
            Outcome::Figures(figures) => figures.as_slice(),
            Outcome::Refused(_) => &[],
        };
        figures.iter().map(|figures| figures.cost)
    }

    fn height(&self) -> f64 {
        ROW + BAR * self.figures().count().max(1) as f64 + GAP
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{self, THREADS, Unit};
    use crate::tls;

    #[test]
    fn every_row_is_in_one_plot_and_a_plot_has_one_unit() {
        let peers: Vec<(&str, Unit)> = measure::all().iter().map(|row| (row.key, row.unit)).collect();
        assert_drawn(&PLOTS, &peers, &[THREADS.key]);
        assert_drawn(&TLS_PLOTS, &tls::MEASURES.map(|row| (row.key, row.unit)), &[]);
    }

    fn assert_drawn(plots: &[Plot], rows: &[(&str, Unit)], left_out: &[&str]) {
        let unit = |key: &str| rows.iter().find(|(other, _)| *other == key).map(|(_, unit)| *unit);
        let mut drawn = left_out.to_vec();
        for (name, _, keys) in plots {
            assert!(keys.iter().all(|key| unit(key).is_some() && unit(key) == unit(keys[0])), "{name}");
            drawn.extend_from_slice(keys);
        }
        let mut all: Vec<&str> = rows.iter().map(|(key, _)| *key).collect();
        drawn.sort_unstable();
        all.sort_unstable();
        assert_eq!(drawn, all);
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let row: Row = serde_json::from_str(
            r#"{"key": "k", "title": "a < b", "unit": "bytes", "outcome": {"figures": [
                {"cost": {"median": 50, "least": 40, "most": 60}},
                {"cost": {"median": 100, "least": 100, "most": 100}}]}}"#,
        )
        .unwrap();
        let names = ["one", "two"].map(|name| Contestant { name: name.to_owned() });
        let text = svg("t", &names, &[&row]).unwrap();
        assert!(text.contains("a &lt; b") && text.contains("t, bytes"), "{text}");
        for part in [format!("width=\"{:.1}\"", LONGEST / 2.0), format!("width=\"{LONGEST:.1}\"")] {
            assert_eq!(text.matches(&part).count(), 1, "{part} in {text}");
        }
        assert_eq!(svg("t", &names, &[]), None);
    }

    #[test]
    fn a_refused_row_is_not_drawn_as_zero() {
        let row = r#"{"key": "k", "title": "t", "unit": "ms", "outcome": {"refused": "why"}}"#;
        let row: Row = serde_json::from_str(row).unwrap();
        let text = svg("t", &[Contestant { name: "one".to_owned() }], &[&row]).unwrap();
        assert!(text.contains("could not be measured") && !text.contains("class=\"own\""), "{text}");
    }
}
