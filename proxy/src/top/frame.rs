//! One frame: lines of text with a few colours, into a buffer of any size.
//!
//! Words of others come as they are; the buffer leaves control characters out.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::status::{BackendRow, Cause, Overview, Severity};

/// Lines of causes, errors and findings at most, so that the backends have room.
const CAUSES_SHOWN: usize = 5;
const ERRORS_SHOWN: usize = 4;

/// Of a line: where the columns of a backend end.
const NAME_WIDTH: usize = 28;
const BAR_WIDTH: usize = 9;

const FAINT: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws what was found, or why nothing was. Returns how far the backends can be and are scrolled.
pub(super) fn draw(shown: &Result<Overview, String>, scrolled: usize, buffer: &mut Buffer) -> usize {
    let area = buffer.area;
    buffer.reset();
    let overview = match shown {
        Ok(overview) => overview,
        Err(why) => {
            let lines = [Line::styled(why.clone(), Color::Red), Line::styled("asking again", FAINT)];
            put(&lines, area.y, buffer);
            return scrolled;
        }
    };
    let mut top = header(overview);
    top.extend(causes(&overview.causes));
    let bottom = errors(overview);
    let height = usize::from(area.height);
    // The last line says which keys there are, and one is the heading of the backends.
    let room = height.saturating_sub(top.len() + bottom.len() + 3);
    let scrolled = scrolled.min(overview.backends.len().saturating_sub(room));
    top.push(Line::default());
    let most = overview.backends.iter().map(|backend| backend.load).max().unwrap_or(0).max(1);
    let heading =
        format!("{:NAME_WIDTH$} {:<11} {:>8} {:>8} {:>9}", "BACKEND", "STATE", "TUNNELS", "LOAD", "/s");
    top.push(Line::styled(heading, FAINT));
    top.extend(overview.backends.iter().skip(scrolled).take(room).map(|row| backend(row, most)));
    put(&top, area.y, buffer);
    let below = overview.backends.len().saturating_sub(scrolled + room);
    let keys = if below > 0 || scrolled > 0 {
        format!(
            "q quit   ↑↓ scroll: {} of {} backends",
            room.min(overview.backends.len()),
            overview.backends.len()
        )
    } else {
        "q quit".to_owned()
    };
    let mut bottom = bottom;
    bottom.push(Line::styled(keys, FAINT));
    let first = height.saturating_sub(bottom.len());
    put(&bottom, area.y.saturating_add(u16::try_from(first).unwrap_or(u16::MAX)), buffer);
    scrolled
}

/// Writes lines from row `y` on, as far as there is room.
fn put(lines: &[Line<'_>], y: u16, buffer: &mut Buffer) {
    let Rect { x, width, .. } = buffer.area;
    let end = buffer.area.bottom();
    for (row, line) in (y..end).zip(lines) {
        buffer.set_line(x, row, line, width);
    }
}

fn header(overview: &Overview) -> Vec<Line<'static>> {
    let Overview { now, rates, .. } = overview;
    let of = |most: u64| if most > 0 { format!("/{}", count(most)) } else { String::new() };
    let state = if overview.phase == "ready" { Color::Green } else { Color::Yellow };
    let about = format!(
        " {}, up {}, pid {}, processor {:.0} %",
        overview.engine,
        time(overview.uptime_seconds),
        overview.pid,
        rates.cpu_seconds * 100.0
    );
    let first = vec![
        Span::styled(format!("Ringbolt {} ", overview.version), BOLD),
        Span::styled(overview.phase.to_string(), state),
        Span::raw(about),
    ];
    let kept = format!(
        "connections {}{}   tunnels {} ({:+.1}/s)   polling {} ({:+.1}/s)",
        count(now.connections),
        of(now.connections_max),
        count(now.tunnels),
        rates.tunnels,
        count(now.sids),
        rates.sessions
    );
    let moved = format!(
        "requests {:.1}/s   new connections {:.1}/s   in {}/s   out {}/s   memory {}",
        rates.requests,
        rates.connections,
        bytes(rates.bytes_to_upstream),
        bytes(rates.bytes_to_client),
        bytes(now.memory_bytes as f64)
    );
    vec![Line::from(first), Line::raw(kept), Line::raw(moved), Line::default()]
}

fn causes(causes: &[Cause]) -> Vec<Line<'static>> {
    if causes.is_empty() {
        return vec![Line::styled("Nothing is wrong.", Color::Green)];
    }
    let colour = |severity| match severity {
        Severity::Fault => Color::Red,
        Severity::Warning => Color::Yellow,
        Severity::Note => Color::Reset,
    };
    let mut lines: Vec<_> = causes
        .iter()
        .take(CAUSES_SHOWN)
        .map(|cause| Line::styled(cause.seen.clone(), colour(cause.severity)))
        .collect();
    // What to do about the worst one.
    lines.insert(1, Line::styled(format!("  {}", causes[0].cure), FAINT));
    if causes.len() > CAUSES_SHOWN {
        lines.push(Line::styled(format!("and {} more", causes.len() - CAUSES_SHOWN), FAINT));
    }
    lines
}

fn backend(row: &BackendRow, most: u32) -> Line<'static> {
    let colour = match &*row.state {
        "up" => Color::Green,
        "down" => Color::Red,
        "suspect" => Color::Yellow,
        _ => Color::Reset,
    };
    let name: String = format!("{}/{}", row.upstream, row.name).chars().take(NAME_WIDTH).collect();
    let filled = (row.load as usize * BAR_WIDTH).div_ceil(most as usize).min(BAR_WIDTH);
    Line::from(vec![
        Span::raw(format!("{name:NAME_WIDTH$} ")),
        Span::styled(format!("{:<11}", row.state), colour),
        Span::raw(format!(
            " {:>8} {:>8} {:>+9.1}  ",
            count(row.tunnels.into()),
            count(row.load.into()),
            row.load_rate
        )),
        Span::styled("▇".repeat(filled.min(BAR_WIDTH)), Color::Blue),
    ])
}

/// What went wrong most in the last minute.
fn errors(overview: &Overview) -> Vec<Line<'static>> {
    let mut rows: Vec<_> = overview.errors.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.last_minute, row.total)));
    let mut lines = vec![Line::default()];
    if !rows.is_empty() {
        lines.push(Line::styled(format!("{:48} {:>12} {:>12}", "ERRORS", "LAST MINUTE", "TOTAL"), FAINT));
    }
    lines.extend(rows.iter().take(ERRORS_SHOWN).map(|row| {
        let what: String = format!("{} {}", row.what, row.reason).chars().take(48).collect();
        Line::raw(format!("{what:48} {:>12} {:>12}", count(row.last_minute), count(row.total)))
    }));
    lines
}

fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return format!("{number:.0} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

fn time(seconds: u64) -> String {
    match seconds {
        86_400.. => format!("{} d", seconds / 86_400),
        3600.. => format!("{} h", seconds / 3600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::text;
    use super::*;
    use crate::status::{ErrorRow, Now};

    fn overview(backends: usize) -> Overview {
        let backend = |index: usize| BackendRow {
            upstream: "chat".to_owned(),
            name: format!("backend-{index}"),
            address: "127.0.0.1:1".to_owned(),
            state: if index == 1 { "down" } else { "up" }.into(),
            weight: 1,
            backup: false,
            ordered: false,
            load: u32::try_from(index * 1000).unwrap(),
            load_rate: 1.25,
            tunnels: u32::try_from(index * 700).unwrap(),
            queue: 0,
        };
        Overview {
            version: "0.1.0".into(),
            phase: "ready".into(),
            engine: "uring".to_owned(),
            uptime_seconds: 7200,
            pid: 7,
            now: Now {
                connections: 1234,
                connections_max: 1_000_000,
                memory_bytes: 5 << 20,
                ..Now::default()
            },
            causes: vec![Cause {
                severity: Severity::Warning,
                name: "backend_down".into(),
                subject: "chat/backend-1".to_owned(),
                seen: "chat/backend-1 is down".to_owned(),
                cure: "Look at its log.".into(),
                metric: "".into(),
            }],
            backends: (0..backends).map(backend).collect(),
            errors: vec![ErrorRow {
                what: "health check failed".into(),
                reason: "timeout".into(),
                metric: "".into(),
                total: 12_345,
                last_minute: 6,
            }],
            ..Overview::default()
        }
    }

    /// What a terminal of this size shows, and how far it is scrolled.
    fn screen(shown: &Result<Overview, String>, scrolled: usize, width: u16, height: u16) -> (String, usize) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut at = 0;
        terminal.draw(|frame| at = draw(shown, scrolled, frame.buffer_mut())).unwrap();
        (text(terminal.backend().buffer()), at)
    }

    #[test]
    fn everything_fits_80_by_24() {
        let (shown, _) = screen(&Ok(overview(3)), 0, 80, 24);
        let expected = "\
Ringbolt 0.1.0 ready uring, up 2 h, pid 7, processor 0 %
connections 1,234/1,000,000   tunnels 0 (+0.0/s)   polling 0 (+0.0/s)
requests 0.0/s   new connections 0.0/s   in 0 B/s   out 0 B/s   memory 5 MiB

chat/backend-1 is down
  Look at its log.

BACKEND                      STATE        TUNNELS     LOAD        /s
chat/backend-0               up                 0        0      +1.2
chat/backend-1               down             700    1,000      +1.2  ▇▇▇▇▇
chat/backend-2               up             1,400    2,000      +1.2  ▇▇▇▇▇▇▇▇▇
";
        assert!(shown.starts_with(expected), "{shown}");
        let end = "\
ERRORS                                            LAST MINUTE        TOTAL
health check failed timeout                                 6       12,345
q quit
";
        assert!(shown.ends_with(end), "{shown}");
        assert_eq!(shown.lines().count(), 24);
    }

    #[test]
    fn many_backends_are_scrolled_to_the_last_and_no_further() {
        let many = Ok(overview(200));
        let (shown, at) = screen(&many, 0, 80, 24);
        assert!(shown.contains("chat/backend-0 ") && !shown.contains("backend-199"), "{shown}");
        assert!(shown.contains("scroll: ") && shown.contains(" of 200 backends"), "{shown}");
        assert_eq!(at, 0);
        let (shown, at) = screen(&many, 10_000, 80, 24);
        assert!(shown.contains("chat/backend-199"), "{shown}");
        assert!(at < 200, "{at}");
    }

    #[test]
    fn any_size_and_any_words_are_drawn() {
        let mut wild = overview(50);
        wild.causes[0].seen = "\u{1b}[2J\u{7}evil \u{1f600}".repeat(50);
        for (width, height) in [(1, 1), (10, 3), (80, 5), (300, 100)] {
            for scrolled in [0, 60] {
                let (shown, _) = screen(&Ok(wild.clone()), scrolled, width, height);
                assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown}");
            }
        }
        let (shown, _) = screen(&Err("no answer from there".to_owned()), 0, 80, 24);
        assert!(shown.starts_with("no answer from there\nasking again\n"), "{shown}");
    }
}
