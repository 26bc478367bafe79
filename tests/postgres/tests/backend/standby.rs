//! A server that follows another: never read from while it follows, and used once it takes writes.

use super::*;

#[test]
fn standby_is_refused_for_it_may_lag_behind() {
    let Some(primary) = needed(&Options::default()) else { return };
    drop(open(&primary));
    let standby = primary.standby().unwrap();
    let refused = try_open(json!({ "url": standby.url() }), standby.socket()).unwrap_err();
    assert!(refused.contains("standby"), "{refused}");
}

#[test]
fn standby_that_is_promoted_is_found_and_has_all_that_was_acknowledged() {
    let Some(mut primary) = needed(&Options::default()) else { return };
    let mut standby = primary.standby().unwrap();
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    primary.sql("SELECT pg_reload_conf()").unwrap();
    // Whichever stands first.
    for (url, name) in [(primary.url_with(&standby), "old"), (standby.url_with(&primary), "new")] {
        let store =
            try_open(json!({ "url": url }), primary.socket()).unwrap_or_else(|error| panic!("{error}"));
        put(&store, b"found", name.as_bytes()).unwrap();
        assert_eq!(value(&store, b"found").unwrap(), Some(name.as_bytes().to_vec()));
    }
    let url = primary.url_with(&standby);
    let store = try_open(json!({ "url": url }), primary.socket()).unwrap_or_else(|error| panic!("{error}"));
    let acknowledged: Vec<[u8; 4]> =
        (0..200_u32).map(u32::to_be_bytes).filter(|key| put(&store, key, b"x").is_ok()).collect();
    assert_eq!(acknowledged.len(), 200);
    primary.crash().unwrap();
    let error = timely("a get", || value(&store, b"found")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UNAVAILABLE, "{error}");
    standby.sql("SELECT pg_promote()").unwrap();
    recovers("a server that was promoted", || put(&store, b"k", b"after it").is_ok());
    for key in &acknowledged {
        assert_eq!(value(&store, key).unwrap(), Some(b"x".to_vec()));
    }
    assert!(block_on(store.health(&call())).unwrap().is_ready());
    standby.stop().unwrap();
}
