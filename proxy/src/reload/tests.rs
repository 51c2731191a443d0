//! What a reload keeps, and when a watched file counts as changed.

use super::*;

fn parse(text: &str) -> Config {
    let text = format!(
        "{text}\n[[listener]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nbackends = [\"127.0.0.1:1\"]\n"
    );
    Config::parse("test", &text).unwrap()
}

#[test]
fn what_holds_until_the_end_is_kept_and_named() {
    let served = parse("");
    let mut config = parse(
        "workers = { count = 3, engine = \"epoll\", pin = false, steer = true }\n\
         admin = { address = \"off\", socket = \"/run/a.sock\" }\n\
         limits = { sids = 5, clients = 6, connections = 7 }\n\
         log = { level = \"debug\", format = \"json\" }\n\
         timeouts = { drain = \"1s\" }",
    );
    let differing = keep_fixed(&served, &mut config);
    assert_eq!(
        differing,
        [
            "workers.count",
            "workers.engine",
            "workers.pin",
            "workers.steer",
            "admin.address",
            "admin.socket",
            "limits.sids",
            "limits.clients",
            "log.format",
            "log.level"
        ]
    );
    assert_eq!(config.workers, served.workers);
    assert_eq!((config.limits.sids, config.limits.connections), (served.limits.sids, 7));
    assert_eq!(keep_fixed(&served, &mut served.clone()), [""; 0]);
    let told = Reloaded { waiting: vec!["log.level", "limits.sids"] }.to_string();
    assert_eq!(told, "reloaded; changed, but kept until the next start: log.level, limits.sids");
}

#[test]
fn a_watched_file_counts_as_changed_when_it_rests() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, "one").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut watch = Watch::new(Some(&file), Stamp::of(&file));
        let within = async |limit: u32, watch: &mut Watch<'_>, enabled: bool| {
            tokio::time::timeout(WATCH_INTERVAL * limit, watch.changed(|| enabled)).await.is_ok()
        };
        // Two looks are enough, at their own pace.
        let changed = async |watch: &mut Watch<'_>, enabled: bool| within(3, watch, enabled).await;
        assert!(!changed(&mut watch, true).await, "nothing has changed");
        // Another file in its place, as editors and deployments write it.
        fs::write(folder.path().join("b.toml"), "two").unwrap();
        fs::rename(folder.path().join("b.toml"), &file).unwrap();
        assert!(!changed(&mut watch, false).await, "it is not watched");
        assert!(within(30, &mut watch, true).await);
        watch.see();
        assert!(!changed(&mut watch, true).await, "it was read");
        fs::remove_file(&file).unwrap();
        assert!(!changed(&mut watch, true).await, "it is gone, and may come back");
    });
}
