//! What the tests of object stores share: writing a run, two writers at once,
//! and a client that loses replies.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Result, Segments, SegmentsWriter,
    VerifyOptions, verify,
};

/// So long that no test ever sees a lease run out.
pub const FOR_EVER: Duration = Duration::from_secs(3600);

pub fn at(store: &Arc<dyn ObjectStore>, prefix: &str) -> Location {
    Location::on_object_store(store.clone(), prefix, FOR_EVER)
}

pub fn header() -> Header {
    Header::new(Kind::Objects, "a run")
}

pub fn content(index: u64, length: usize) -> Vec<u8> {
    format!("segment {index} ").into_bytes().into_iter().cycle().take(length).collect()
}

/// Commits one segment.
pub fn put(writer: &mut SegmentsWriter, name: &str, index: u64, length: usize) -> Result<()> {
    let mut draft = writer.draft(name)?;
    draft.write_all(&content(index, length)).map_err(|e| draft.error(e))?;
    writer.commit(draft, EntryMeta { index, ..EntryMeta::default() }).map(drop)
}

/// Resumes a run of `segments` segments until it is done.
pub fn run(at: &Location, segments: u64, length: usize) -> Result<Segments> {
    let mut writer = SegmentsWriter::create(at, Existing::Resume, header())?;
    let done: BTreeSet<u64> = writer.done().iter().map(|entry| entry.index).collect();
    for index in (0..segments).filter(|index| !done.contains(index)) {
        put(&mut writer, &format!("data-{index:05}"), index, length)?;
    }
    writer.finish()
}

/// That the directory is finished, and holds `segments` whole segments.
pub fn assert_whole(at: &Location, segments: usize) {
    let opened = Segments::open(at).unwrap();
    assert_eq!(opened.len(), segments);
    let report = verify(&opened, &VerifyOptions::default()).unwrap();
    assert!(report.is_good(), "{report:?}");
}

/// Two writers on one place, `rounds` times: both are let go at once to add a
/// segment each, and both try again until they have. Exactly one can be the
/// writer at a time, and nothing that either was told is lost.
pub fn two_writers_at_once(at: &Location, rounds: u64) {
    run(at, 1, 10).unwrap();
    let refused = AtomicUsize::new(0);
    for round in 0..rounds {
        let start = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            for who in ["left", "right"] {
                let (start, refused) = (&start, &refused);
                scope.spawn(move || {
                    start.wait();
                    loop {
                        let added = SegmentsWriter::append(at).and_then(|mut writer| {
                            let index = writer.next_index();
                            put(&mut writer, &format!("{who}-{round}"), index, 100)?;
                            writer.finish()
                        });
                        match added {
                            Ok(_) => break,
                            Err(Error::Locked { .. } | Error::TakenOver(_)) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            // The other one was between its segment and its manifest.
                            Err(Error::SameName { .. }) => break,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
        });
        let opened = Segments::open(at).unwrap();
        assert_eq!(opened.len() as u64, 1 + 2 * (round + 1), "round {round}");
    }
    assert_whole(at, 1 + 2 * rounds as usize);
    println!("{rounds} rounds; {} times one was refused", refused.into_inner());
}

/// The same without the help of the lock: a second writer comes in while the
/// first is at work, as after a sleep that outlasted its lease. Whatever
/// either was told is done is there, whole, and at most one of them finishes.
pub fn a_writer_that_lost_its_lock_does_no_harm(
    at: &Location,
    take_lock_away: &dyn Fn(),
    rounds: u64,
) {
    for round in 0..rounds {
        let mut first = SegmentsWriter::create(at, Existing::Overwrite, header()).unwrap();
        put(&mut first, "data-00000", 0, 50).unwrap();
        take_lock_away();
        thread::scope(|scope| {
            // The first goes on while the second comes in.
            let first = scope.spawn(move || {
                let one = put(&mut first, "data-00001", 1, 50).is_ok();
                let two = one && put(&mut first, "data-00002", 2, 50).is_ok();
                (one, two, two && first.finish().is_ok())
            });
            let second = scope.spawn(|| -> Result<Vec<u64>> {
                let mut writer = SegmentsWriter::create(at, Existing::Resume, header())?;
                let kept = writer.done().iter().map(|entry| entry.index).collect::<Vec<_>>();
                for index in (0..4).filter(|index| !kept.contains(index)) {
                    put(&mut writer, &format!("data-{index:05}"), index, 50)?;
                }
                writer.finish().map(|_| kept)
            });
            let (one, two, first_finished) = first.join().unwrap();
            let second = second.join().unwrap();
            match second {
                Ok(kept) => {
                    assert!(kept.contains(&0), "round {round}: {kept:?}");
                    // Where the first finished, it had done so before the second came in.
                    assert!(!first_finished || kept.len() == 3, "round {round}: {kept:?}");
                    // What the first was told before that is kept.
                    assert!(!one || kept.contains(&1), "round {round}: {kept:?}");
                    assert!(!two || kept.contains(&2), "round {round}: {kept:?}");
                }
                // The first was faster.
                Err(Error::TakenOver(_) | Error::Locked { .. }) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        });
        // Whoever it was: resumed, it ends as if nothing had been.
        take_lock_away();
        run(at, 4, 50).unwrap();
        assert_whole(at, 4);
        let opened = Segments::open(at).unwrap();
        for index in 0..4 {
            assert_eq!(opened.read(index).unwrap(), content(index as u64, 50));
        }
    }
}

/// What goes wrong with one of the requests that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is never made.
    NotMade,
    /// It is made; the reply is lost.
    ReplyLost,
    /// The reply is lost, the client makes it again by itself, and is told
    /// that somebody was there before.
    MadeTwice,
}

/// A store behind a network that loses one request, or from one on all of them.
#[derive(Debug)]
pub struct Unreliable {
    pub inner: Arc<dyn ObjectStore>,
    pub fault: Fault,
    /// Which request, counted from 0.
    pub at: usize,
    pub made: Arc<AtomicUsize>,
}

impl Unreliable {
    fn fault(&self) -> Option<Fault> {
        (self.made.fetch_add(1, Ordering::Relaxed) == self.at).then_some(self.fault)
    }

    fn lost() -> object_store::Error {
        object_store::Error::Generic { store: "test", source: "the connection broke".into() }
    }
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreliable")
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let fault = self.fault();
        if fault == Some(Fault::NotMade) {
            return Err(Unreliable::lost());
        }
        let done = self.inner.put_opts(location, payload.clone(), options.clone()).await;
        match fault {
            Some(Fault::ReplyLost) => done.and(Err(Unreliable::lost())),
            Some(_) => self.inner.put_opts(location, payload, options).await,
            None => done,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(UnreliableUpload { upload, lost: self.fault() == Some(Fault::ReplyLost) }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload in parts whose last reply is lost.
#[derive(Debug)]
struct UnreliableUpload {
    upload: Box<dyn MultipartUpload>,
    lost: bool,
}

#[async_trait]
impl MultipartUpload for UnreliableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let done = self.upload.complete().await;
        if self.lost { done.and(Err(Unreliable::lost())) } else { done }
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.upload.abort().await
    }
}
