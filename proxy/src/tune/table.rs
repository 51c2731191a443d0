//! The settings as text for a terminal.

use super::shown;
use super::wanted::Row;

pub(super) fn text(rows: &[Row], tunnels: u32) -> String {
    let mut text = line("setting", "this machine", "wanted", "");
    for row in rows {
        let verdict = match &row.present {
            None => "not in this kernel",
            Some(_) if row.is_below() => "BELOW",
            Some(_) => "ok",
        };
        text.push_str(&line(
            row.name,
            shown(row.present.as_deref().unwrap_or("-")),
            shown(&row.wanted),
            verdict,
        ));
    }
    let below: Vec<&Row> = rows.iter().filter(|row| row.is_below()).collect();
    if below.is_empty() {
        text.push_str(&format!("\nevery setting suffices for {tunnels} tunnels"));
    } else {
        text.push_str(&format!("\nbelow what {tunnels} tunnels take, or what is recommended:"));
        for row in below {
            text.push_str(&format!("\n  sysctl -w {}={:?}\n      {}", row.name, row.wanted, row.reason));
        }
        text.push_str("\n`ringbolt tune --apply` sets them until the next boot");
    }
    text.push_str(&format!(
        "\nmemory, LimitNOFILE and addresses of backends: ringbolt plan --tunnels {tunnels}"
    ));
    text
}

fn line(name: &str, present: &str, wanted: &str, verdict: &str) -> String {
    let line = format!("{name:<33} {present:<24} {wanted:<24} {verdict}");
    format!("{}\n", line.trim_end())
}
