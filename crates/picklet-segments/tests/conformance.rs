//! Every store keeps the same promises. `tests/s3.rs` holds S3 to them.

#[allow(unreachable_pub, reason = "shared with the tests of S3")]
mod promises;
mod support;

use std::path::PathBuf;
use std::sync::Arc;

use picklet_segments::Location;
use support::FakeDisk;

/// A folder of its own on the real disk, below the one that cargo gives to tests.
fn folder() -> PathBuf {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().replace("::", "-");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

every_store_promises!(local, Some(picklet_segments::Location::local(super::folder())));

every_store_promises!(
    fake_disk,
    Some(picklet_segments::Location::on_disk(super::Arc::new(super::FakeDisk::default()), "/out"))
);

#[cfg(feature = "object-store")]
every_store_promises!(memory, Some(super::memory()));

#[cfg(feature = "object-store")]
fn memory() -> Location {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().replace("::", "-");
    Location::new(format!("memory://{name}/some/where/")).unwrap()
}

#[test]
fn the_url_of_nothing_that_is_known_is_refused_in_one_line() {
    for url in ["ftp://host/a", "s3://", "s3:///a", "file:///a", "s3://bucket/a?b", "gs://b/a//c"] {
        let error = Location::new(url).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains(url) && !message.contains('\n'), "{message}");
    }
    let odd = ["a:/b", "1x://b", "out", "C:\\out", "./s3://b"];
    assert!(odd.iter().all(|path| !Location::new(path).unwrap().is_url()));
}
