//! The promises of every store, kept by S3. The server is moto's, started here
//! on a free port of this machine and ended with this process; nothing leaves
//! the machine.
//!
//! Where Python has no moto the tests say so and pass, unless
//! `PICKLET_REQUIRE_S3` is set: `make test-engines` sets it.

#[allow(unreachable_pub, reason = "shared with the tests of the other stores")]
mod promises;
mod remote_support;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, OnceLock};

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use picklet_segments::Location;
use remote_support::{FOR_EVER, a_writer_that_lost_its_lock_does_no_harm, two_writers_at_once};

/// Ends when its standard input does, and so with this process, however that ends.
const SERVER: &str = "
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger('werkzeug').setLevel(logging.ERROR)
server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
server.start()
print('%s:%s' % server.get_host_and_port(), flush=True)
sys.stdin.read()
";

struct Server {
    address: String,
    _process: Child,
    _stdin: ChildStdin,
}

fn start() -> Option<Server> {
    let python = std::env::var_os("PICKLET_PYTHON").unwrap_or_else(|| "python3".into());
    let mut process = Command::new(python)
        .args(["-c", SERVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut address = String::new();
    BufReader::new(process.stdout.take()?).read_line(&mut address).ok()?;
    let stdin = process.stdin.take()?;
    let address = address.trim().to_owned();
    (!address.is_empty()).then_some(Server { address, _process: process, _stdin: stdin })
}

/// A client for a bucket of its own.
fn s3(bucket: &str) -> Option<Arc<dyn ObjectStore>> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let Some(server) = SERVER.get_or_init(start) else {
        assert!(
            std::env::var_os("PICKLET_REQUIRE_S3").is_none(),
            "no moto: pip install 'moto[server]', or name its Python in PICKLET_PYTHON"
        );
        eprintln!("SKIPPED: S3, for want of a Python with moto (pip install 'moto[server]')");
        return None;
    };
    // The tests make their own clients, which need it as picklet's do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = format!("http://{}", server.address);
    make_bucket(&server.address, bucket);
    let store = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_access_key_id("test")
        .with_secret_access_key("test");
    Some(Arc::new(store.build().unwrap()))
}

/// One request by hand: object_store makes no buckets.
fn make_bucket(address: &str, bucket: &str) {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    let request = format!(
        "PUT /{bucket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/s3/aws4_request\r\n\
         Connection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 ") || answer.contains(" 409 "), "{answer}");
}

fn place() -> Option<Location> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().replace("::", "-").replace('_', "-");
    let store = s3("conformance")?;
    Some(Location::on_object_store(store, &format!("{name}/some where"), FOR_EVER))
}

every_store_promises!(s3_by_moto, super::place());

#[test]
fn two_writers_at_once_lose_nothing_in_a_hundred_rounds() {
    let Some(store) = s3("two-writers") else { return };
    let rounds = std::env::var("PICKLET_S3_ROUNDS").map_or(100, |text| text.parse().unwrap());
    two_writers_at_once(&Location::on_object_store(store, "out", FOR_EVER), rounds);
}

#[test]
fn one_that_lost_its_lock_does_no_harm() {
    let Some(store) = s3("lost-lock") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = store.clone();
    let take = move || {
        runtime.block_on(client.delete(&Path::from("out/.picklet/lock"))).unwrap();
    };
    let place = Location::on_object_store(store, "out", FOR_EVER);
    a_writer_that_lost_its_lock_does_no_harm(&place, &take, 10);
}
