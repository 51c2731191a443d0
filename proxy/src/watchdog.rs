//! Tells the service manager from time to time that the process serves (`WatchdogSec=` of systemd.service(5)).
//!
//! Only while every worker turns: one that hangs would leave its connections to nobody, and the manager can do
//! something about it. Decides nothing else.

use std::env;
use std::process;
use std::time::Duration;

use crate::reload::Reloader;

/// Never ends.
pub(crate) async fn attend(reloader: &Reloader) {
    let variable = |name| env::var(name).ok();
    let Some(interval) = interval(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id()) else {
        return std::future::pending().await;
    };
    loop {
        let all_turn = reloader.server().prove();
        // Resolves with an error, when the last worker has dropped its part.
        match tokio::time::timeout(interval, all_turn).await {
            Ok(_) => reloader.notify().alive(),
            Err(_) => tracing::error!("a worker does not turn, the service manager is told nothing"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// How often to look: four times as often as the manager does. `None`: it does not, or not after this process.
fn interval(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec?.parse::<u64>().ok().filter(|usec| *usec > 0 && ours)?;
    Some(Duration::from_micros(usec) / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_for_by_two_variables() {
        let interval =
            |usec: &str, pid: Option<&str>| super::interval(Some(usec.into()), pid.map(Into::into), 7);
        assert_eq!(interval("20000000", None), Some(Duration::from_secs(5)));
        assert_eq!(interval("20000000", Some("7")), Some(Duration::from_secs(5)));
        assert_eq!(interval("20000000", Some("8")), None, "meant for another process");
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("soon", None), None);
        assert_eq!(super::interval(None, None, 7), None);
    }
}
