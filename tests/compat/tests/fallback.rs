//! Which versions the loader keeps to fall back to.

use std::fs;

use futures_executor::block_on;
use keyway_compat::{Workbench, plugin};
use keyway_loader::{BackendConfig, Digest, Requirement, Wanted};
use serde_json::json;

#[test]
fn copies_of_the_current_and_the_previous_build_are_kept_and_older_ones_removed() {
    let bench = Workbench::new();
    let library = fs::read(plugin("memory")).unwrap();
    let config = BackendConfig { name: "main".into(), config: json!({}), data_dir: bench.path().to_owned() };
    let wanted = Wanted { plugin: Requirement::parse("memory").unwrap(), fallback: true };
    let mut digests: Vec<Digest> = Vec::new();
    for build in [&b"1"[..], b"2", b"3"] {
        bench.put("memory", &[&library[..], build].concat());
        bench.lock("memory");
        let (plugin, fallback) = bench.loader.choose(&wanted, &config).unwrap();
        assert_eq!(fallback, None);
        block_on(bench.loader.open_store(&plugin, fallback, &config)).unwrap();
        digests.push(plugin.digest().unwrap());
    }
    fs::write(bench.loader.staging_dir.join(".staging-now"), "half").unwrap();
    bench.loader.prune(&[]);
    let kept = |digest: &Digest| bench.loader.history.copy_of(&digest.to_string()).exists();
    assert_eq!(digests.iter().map(kept).collect::<Vec<_>>(), [false, true, true]);
    assert!(bench.loader.staging_dir.join(".staging-now").exists(), "somebody may be writing it");

    // The file is gone: what worked last is used, if it is whole.
    fs::remove_file(bench.file("memory")).unwrap();
    let (plugin, fallback) = bench.loader.choose(&wanted, &config).unwrap();
    assert_eq!(plugin.digest(), digests.last().copied());
    assert!(fallback.is_some_and(|why| why.contains("was not found")));
    let copy = bench.loader.history.copy_of(&digests[2].to_string());
    fs::remove_file(&copy).unwrap();
    fs::write(&copy, [&library[..], b"other"].concat()).unwrap();
    let refused = bench.loader.choose(&wanted, &config).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("no fallback"), "{refused}");
}
