//! `ringbolt top`: the status page in a terminal, over the admin socket or address.
//!
//! Reads `/overview` once a second and draws it; gives no orders. What a frame looks like is in `frame.rs`.

mod frame;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;

use crate::cli;
use crate::limits::{STATUS_INTERVAL, TOP_CONNECT_TIMEOUT};
use crate::order;
use crate::status::Overview;

/// Size of a frame that goes to no terminal: what every terminal has.
const PLAIN: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

/// Shows the process until a key ends it; one frame as text where the output is no terminal.
///
/// # Errors
/// The process does not answer, or the terminal cannot be used.
pub(crate) fn run(asked: &cli::Top) -> Result<ExitCode, String> {
    let first = look(asked)?;
    if asked.once || !io::stdout().is_terminal() {
        let mut buffer = Buffer::empty(PLAIN);
        frame::draw(&Ok(first), 0, &mut buffer);
        // Fails only when nobody reads any more.
        let _ = io::stdout().write_all(text(&buffer).as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal =
        ratatui::try_init().map_err(|error| format!("the terminal cannot be used: {error}"))?;
    let ended = watch(&mut terminal, asked, first);
    ratatui::restore();
    ended.map_err(|error| format!("the terminal cannot be used: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws a frame a second, and one for each key, until one of them ends it.
fn watch(terminal: &mut ratatui::DefaultTerminal, asked: &cli::Top, first: Overview) -> io::Result<()> {
    let (mut shown, mut scrolled, mut looked) = (Ok(first), 0, Instant::now());
    loop {
        terminal.draw(|frame| scrolled = frame::draw(&shown, scrolled, frame.buffer_mut()))?;
        let rest = STATUS_INTERVAL.saturating_sub(looked.elapsed());
        if event::poll(rest)? {
            match key(&event::read()?) {
                Some(Key::End) => return Ok(()),
                Some(Key::Up) => scrolled = scrolled.saturating_sub(1),
                Some(Key::Down) => scrolled += 1,
                None => {}
            }
        }
        // Keys that are held down must not make it ask more often.
        if looked.elapsed() >= STATUS_INTERVAL {
            (shown, looked) = (look(asked), Instant::now());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    End,
    Up,
    Down,
}

fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::End),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::End),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Down),
        _ => None,
    }
}

/// Asks the process how it is.
fn look(asked: &cli::Top) -> Result<Overview, String> {
    let asking = || {
        if let Some(address) = asked.address {
            let stream = TcpStream::connect_timeout(&address, TOP_CONNECT_TIMEOUT)?;
            stream.set_read_timeout(Some(TOP_CONNECT_TIMEOUT))?;
            return order::exchange(stream, "GET", "/overview", "");
        }
        let stream = UnixStream::connect(&asked.reach.socket)?;
        stream.set_read_timeout(Some(TOP_CONNECT_TIMEOUT))?;
        order::exchange(stream, "GET", "/overview", "")
    };
    let place =
        asked.address.map_or_else(|| asked.reach.socket.display().to_string(), |address| address.to_string());
    let answer = asking().map_err(|error| format!("no answer from {place}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{place} answers {}: is it a ringbolt of this version?", answer.status));
    }
    serde_json::from_str(&answer.text).map_err(|error| format!("{place}: another version answers: {error}"))
}

/// What a buffer shows, without colours.
fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(usize::from(buffer.area.width.max(1)));
    let line = |row: &[ratatui::buffer::Cell]| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    };
    rows.map(line).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_end_it_and_scroll() {
        let press = |code, modifiers| key(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| press(code, KeyModifiers::NONE);
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::End));
        assert_eq!([KeyCode::Char('q'), KeyCode::Esc].map(plain), [Some(Key::End); 2]);
        assert_eq!([KeyCode::Down, KeyCode::Char('k')].map(plain), [Some(Key::Down), Some(Key::Up)]);
        assert_eq!([KeyCode::Char('c'), KeyCode::Enter].map(plain), [None; 2]);
        assert_eq!(key(&Event::Resize(80, 24)), None, "only draws again");
    }
}
