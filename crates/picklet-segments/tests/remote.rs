//! Object stores: replies that get lost, writers that were thought dead. The
//! store is the memory; `tests/s3.rs` does the same over HTTP.

mod remote_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use picklet_segments::{Error, Existing, Location, Segments, SegmentsWriter};
use remote_support::{
    Fault, Unreliable, a_writer_that_lost_its_lock_does_no_harm, assert_whole, at, content, header,
    put, run, two_writers_at_once,
};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// Waits for a request of the test's own. Nothing in the memory ever has to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("the memory does not wait")
}

fn get(store: &Arc<dyn ObjectStore>, path: &str) -> Vec<u8> {
    now(async { store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap() }).into()
}

/// Every object of a run but those that only say who wrote and when.
fn objects(store: &Arc<dyn ObjectStore>) -> Vec<(String, Vec<u8>)> {
    let listed: Vec<_> = now(futures_util::TryStreamExt::try_collect(store.list(None))).unwrap();
    let mut paths: Vec<String> =
        listed.into_iter().map(|object| object.location.to_string()).collect();
    paths.retain(|path| !path.contains("/.picklet/"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), get(store, &path))).collect()
}

#[test]
fn a_request_that_fails_or_whose_reply_is_lost_changes_nothing_of_the_result() {
    // The second length goes up in parts.
    for (length, faults) in [
        (100, &[Fault::NotMade, Fault::ReplyLost, Fault::MadeTwice][..]),
        (9 << 20, &[Fault::ReplyLost]),
    ] {
        let reference = memory();
        let made = Arc::new(AtomicUsize::new(0));
        let counted: Arc<dyn ObjectStore> = Arc::new(Unreliable {
            inner: reference.clone(),
            fault: Fault::NotMade,
            at: usize::MAX,
            made: made.clone(),
        });
        run(&at(&counted, "out"), 3, length).unwrap();
        let requests = made.load(Ordering::Relaxed);
        assert!(requests >= 10, "{requests}");
        for &fault in faults {
            for lost in 0..requests {
                let inner = memory();
                let store: Arc<dyn ObjectStore> = Arc::new(Unreliable {
                    inner: inner.clone(),
                    fault,
                    at: lost,
                    made: Arc::default(),
                });
                run(&at(&store, "out"), 3, length)
                    .unwrap_or_else(|e| panic!("{fault:?} of request {lost}: {e}"));
                assert!(objects(&inner) == objects(&reference), "{fault:?} of request {lost}");
            }
        }
    }
}

#[test]
fn a_put_that_somebody_else_won_is_no_lost_reply() {
    let store = memory();
    let place = at(&store, "out");
    let mut writer = SegmentsWriter::create(&place, Existing::Refuse, header()).unwrap();
    put(&mut writer, "data-00000", 0, 10).unwrap();
    // Another writer's object stands where the journal goes on.
    let listed: Vec<_> = now(futures_util::TryStreamExt::try_collect(
        store.list(Some(&Path::from("out/.picklet/journal"))),
    ))
    .unwrap();
    let last = listed.into_iter().map(|object| object.location.to_string()).max().unwrap();
    let (folder, number) = last.rsplit_once('/').unwrap();
    let next = format!("{folder}/{:08}", number.parse::<u32>().unwrap() + 1);
    now(store.put(&Path::from(next), "#another".into())).unwrap();
    let error = put(&mut writer, "data-00001", 1, 10).unwrap_err();
    assert!(matches!(error, Error::TakenOver(_)), "{error}");
    assert!(error.to_string().contains("another run"), "{error}");
    // Nothing more can be reported done.
    assert!(put(&mut writer, "data-00002", 2, 10).is_err());
}

#[test]
fn two_writers_at_once_in_a_folder_lose_nothing_in_a_hundred_rounds() {
    let folder = tempfile::tempdir().unwrap();
    two_writers_at_once(&Location::local(folder.path().join("out")), 100);
}

#[test]
fn two_writers_at_once_lose_nothing_in_a_hundred_rounds() {
    two_writers_at_once(&at(&memory(), "out"), 100);
}

#[test]
fn a_writer_that_lost_its_lock_does_no_harm_in_a_hundred_rounds() {
    let store = memory();
    let lock = Path::from("out/.picklet/lock");
    let take = || now(store.delete(&lock)).unwrap();
    a_writer_that_lost_its_lock_does_no_harm(&at(&store, "out"), &take, 100);
}

#[test]
fn the_manifest_of_two_that_finish_is_the_one_that_came_first() {
    let store = memory();
    let place = at(&store, "out");
    run(&place, 1, 10).unwrap();
    let mut first = SegmentsWriter::append(&place).unwrap();
    put(&mut first, "first", 1, 10).unwrap();
    now(store.delete(&Path::from("out/.picklet/lock"))).unwrap();
    let mut second = SegmentsWriter::append(&place).unwrap();
    put(&mut second, "second", 2, 10).unwrap();
    second.finish().unwrap();
    assert!(matches!(first.finish(), Err(Error::TakenOver(_))));
    // The first was told that its segment is done before the second came: it is in.
    let names: Vec<String> =
        Segments::open(&place).unwrap().entries().iter().map(|e| e.file.clone()).collect();
    assert_eq!(names, ["data-00000.pickle", "first.pickle", "second.pickle"]);
}

/// A lock as a writer on another machine leaves it.
fn foreign_lock(beat: u64, released: bool) -> String {
    format!(
        r#"{{"holder":"process 7 on far","process":{{"machine":"far","id":7,"began":1}},"session":"7-far","beat":{beat},"released":{released}}}"#
    )
}

#[test]
fn the_lock_of_a_writer_elsewhere_holds_while_it_beats_and_is_taken_when_it_stops() {
    let store = memory();
    let lock = Path::from("out/.picklet/lock");
    let place = Location::on_object_store(store.clone(), "out", Duration::from_millis(20));
    now(store.put(&lock, foreign_lock(1, false).into())).unwrap();
    // One that beats.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let beating = {
        let (store, lock) = (store.clone(), lock.clone());
        std::thread::spawn(move || {
            for beat in 2.. {
                let pause = stopped.recv_timeout(Duration::from_millis(2));
                if pause != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                now(store.put(&lock, foreign_lock(beat, false).into())).unwrap();
            }
        })
    };
    let error = SegmentsWriter::create(&place, Existing::Refuse, header()).unwrap_err();
    assert!(error.to_string().contains("process 7 on far"), "{error}");
    stop.send(()).unwrap();
    beating.join().unwrap();
    // It has stopped: after a few missed beats its place is free.
    run(&place, 2, 10).unwrap();
    assert_whole(&place, 2);
    // One that has ended as it should is not waited for.
    let patient = at(&store, "patient");
    now(store.put(&Path::from("patient/.picklet/lock"), foreign_lock(1, true).into())).unwrap();
    run(&patient, 1, 10).unwrap();
}

#[test]
fn a_lease_is_renewed_while_its_writer_lives() {
    let store = memory();
    let place = Location::on_object_store(store.clone(), "out", Duration::from_millis(5));
    let writer = SegmentsWriter::create(&place, Existing::Refuse, header()).unwrap();
    let lock = "out/.picklet/lock";
    let before = get(&store, lock);
    // Ends when it is renewed, and never otherwise.
    while get(&store, lock) == before {
        std::thread::yield_now();
    }
    drop(writer);
    assert!(String::from_utf8(get(&store, lock)).unwrap().contains(r#""released":true"#));
}

#[test]
fn damage_in_an_object_store_is_found_and_repaired_as_on_a_disk() {
    let store = memory();
    let place = at(&store, "out");
    run(&place, 3, 100).unwrap();
    now(store.put(&Path::from("out/data-00001.pickle"), "damaged".into())).unwrap();
    let opened = Segments::open(&place).unwrap();
    let error = opened.read(1).unwrap_err().to_string();
    assert!(error.contains("out/data-00001.pickle"), "{error}");
    assert_eq!(opened.read(2).unwrap(), content(2, 100));
    let report = picklet_segments::repair(&place, &Default::default()).unwrap();
    assert_eq!(report.lost.len(), 1);
    assert_eq!(get(&store, "out/.picklet/quarantine/data-00001.pickle"), b"damaged");
    assert_whole(&place, 2);
    run(&place, 3, 100).unwrap();
    assert_whole(&place, 3);
}

/// A web server for one folder, on a free port of this machine: whole files and ranges, no lists.
fn serve(folder: std::path::PathBuf) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            let headers: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let range = headers.iter().find_map(|header| {
                let (start, end) = header
                    .to_ascii_lowercase()
                    .strip_prefix("range: bytes=")?
                    .split_once('-')
                    .map(|(start, end)| (start.to_owned(), end.to_owned()))?;
                Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
            });
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let path = path.trim_start_matches("/a%20folder/");
            let answer = match (method, std::fs::read(folder.join(path))) {
                ("GET" | "HEAD", Ok(bytes)) => {
                    let (start, end) = range.unwrap_or((0, bytes.len().wrapping_sub(1)));
                    let end = end.min(bytes.len().wrapping_sub(1));
                    let part = bytes.get(start..end.wrapping_add(1)).unwrap_or_default();
                    let status = match range {
                        Some(_) => {
                            format!(
                                "206 Partial Content\r\nContent-Range: bytes {start}-{end}/{}",
                                bytes.len()
                            )
                        }
                        None => "200 OK".to_owned(),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        part.len()
                    );
                    let body = if method == "HEAD" { &[] } else { part };
                    [head.as_bytes(), body].concat()
                }
                ("GET" | "HEAD", Err(_)) => {
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_vec()
                }
                _ => b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec(),
            };
            let _ = connection.write_all(&answer);
        }
    });
    address
}

#[test]
fn a_directory_is_read_from_a_web_server_that_cannot_list_and_not_written() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("served");
    let _ = std::fs::remove_dir_all(&folder);
    run(&Location::local(&folder), 5, 100_000).unwrap();
    let address = serve(folder);
    let place = Location::new(format!("http://{address}/a%20folder/")).unwrap();
    assert_whole(&place, 5);
    let opened = Segments::open(&place).unwrap();
    assert_eq!(opened.read(3).unwrap(), content(3, 100_000));
    let mut part = [0; 100];
    opened.open_segment(4).unwrap().read_exact_at(70_000, &mut part).unwrap();
    assert_eq!(part, content(4, 100_000)[70_000..70_100]);
    let error = run(&place, 6, 10).unwrap_err().to_string();
    assert!(error.contains("can only be read"), "{error}");
    let nothing = Location::new(format!("http://{address}/elsewhere")).unwrap();
    assert!(matches!(Segments::open(&nothing), Err(Error::NoSegments(_))));
}

#[test]
fn an_empty_manifest_or_a_damaged_one_is_told_from_none() {
    let store = memory();
    let place = at(&store, "out");
    run(&place, 2, 10).unwrap();
    let good = get(&store, "out/segments.json");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        now(store.put(&Path::from("out/segments.json"), bad.into())).unwrap();
        match Segments::open(&place) {
            Err(Error::BadManifest { .. } | Error::NewerManifest { .. }) => {}
            Ok(opened) => assert_eq!(opened.len(), 2),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    now(store.put(&Path::from("out/segments.json"), "".into())).unwrap();
    // Taken back: the journal tells what is there.
    assert_eq!(Segments::open(&place).unwrap().len(), 2);
}
