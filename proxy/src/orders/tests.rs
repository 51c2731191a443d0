//! Orders find the backend that is meant, and are refused where they mean nothing.

use super::*;
use crate::config::Config;

fn revision() -> Arc<Revision> {
    let config = Config::parse(
        "test",
        "[[listener]]\naddress = \"127.0.0.1:0\"\nupstream = \"a\"\n\
         [upstream.a]\nbackends = [{ name = \"x\", address = \"127.0.0.1:1\" }, \"127.0.0.1:2\"]\n\
         [upstream.b]\nbackends = [{ name = \"x\", address = \"127.0.0.1:3\", state = \"drain\" }]\n",
    );
    Served::of(&config.unwrap()).revision()
}

#[test]
fn a_backend_is_found_by_its_name_and_by_that_of_its_upstream() {
    let revision = revision();
    let id = |wanted: &str| find(&revision, wanted).map(|(full, identity)| (full, identity.id.0));
    assert_eq!(id("127.0.0.1:2"), Ok(("a/127.0.0.1:2".to_owned(), 1)));
    assert_eq!(id("b/x"), Ok(("b/x".to_owned(), 2)));
    let status = |wanted: &str| id(wanted).unwrap_err().0;
    assert_eq!((status("x"), status("y")), (StatusCode::CONFLICT, StatusCode::NOT_FOUND));
    assert!(id("x").unwrap_err().1.contains("a/x, b/x"));
}

#[test]
fn an_order_stands_above_the_file_until_it_is_forgotten() {
    use affinity::State::{Drain, Maintenance, Up};
    let revision = revision();
    let (_, identity) = find(&revision, "b/x").unwrap();
    let mut order = 0;
    let changed = changing(&revision, &identity, |identity| order = identity.order_state(Up, None));
    assert_eq!(changed, (Drain, Up));
    assert!(identity.differs(Drain, 1) && identity.is_last_order(order));
    assert_eq!(
        changing(&revision, &identity, |identity| _ = identity.order_state(Maintenance, None)),
        (Up, Maintenance)
    );
    assert!(!identity.is_last_order(order), "there was another");
    identity.order_weight(7);
    assert_eq!(identity.weight(1), 7);
    assert_eq!(changing(&revision, &identity, Identity::forget_orders), (Maintenance, Drain));
    assert_eq!((identity.weight(1), identity.differs(Drain, 1)), (1, false));
    identity.order_state(Up, None);
    identity.order_weight(7);
    identity.settle_orders(Drain, 7);
    assert_eq!((identity.state(Drain), identity.weight(1)), (Up, 1), "only the weight is the file's");
}
