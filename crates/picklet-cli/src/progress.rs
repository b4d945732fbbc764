//! Progress as a bar on standard error, only made when that is a terminal, and as lines of JSON on
//! standard output.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use picklet_segments::{Progress, Totals};

/// One bar: bytes of the input where their number is known, segments otherwise.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    by_bytes: std::sync::atomic::AtomicBool,
    segments: AtomicU64,
    items: AtomicU64,
    failures: AtomicU64,
}

const SEGMENTS: &str = "{prefix} {wide_bar:.cyan/dim} {pos}/{len} segments {msg} {eta}";
const BYTES: &str = "{prefix} {wide_bar:.cyan/dim} {percent}% {msg} {binary_bytes_per_sec} {eta}";

impl Bar {
    pub(crate) fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_prefix(verb);
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar {
            bar,
            by_bytes: false.into(),
            segments: AtomicU64::new(0),
            items: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    fn by_bytes(&self) -> bool {
        self.by_bytes.load(Ordering::Relaxed)
    }

    fn tell(&self) {
        let segments = self.segments.load(Ordering::Relaxed);
        let items = self.items.load(Ordering::Relaxed);
        let failures = self.failures.load(Ordering::Relaxed);
        let mut message = String::new();
        if self.by_bytes() {
            message = format!("{segments} segments, ");
        } else {
            self.bar.set_position(segments + failures);
        }
        message.push_str(&format!("{} items", crate::show::count(items)));
        if failures > 0 {
            message.push_str(&format!(", {failures} failed"));
        }
        self.bar.set_message(message);
    }
}

impl Progress for Bar {
    fn totals(&self, totals: Totals) {
        let (length, template) = match (totals.bytes, totals.segments) {
            (Some(bytes), _) => (bytes, BYTES),
            (None, Some(segments)) => (segments, SEGMENTS),
            (None, None) => return,
        };
        self.by_bytes.store(totals.bytes.is_some(), Ordering::Relaxed);
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_length(length);
        self.tell();
    }

    fn bytes(&self, bytes: u64) {
        if self.by_bytes() {
            self.bar.inc(bytes);
        }
    }

    fn items(&self, items: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
        self.tell();
    }

    fn segment(&self, _file: &str) {
        self.segments.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    fn failure(&self, _file: &str, _message: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    fn output(&self, bytes: &[u8]) {
        self.bar.suspend(|| {
            let _ = std::io::stderr().write_all(bytes);
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line of JSON on standard output for each thing that happens. That nobody reads them is found
/// out when the report is printed.
#[derive(Debug)]
pub(crate) struct Events {
    verb: &'static str,
    segments: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
}

impl Events {
    pub(crate) fn new(verb: &'static str) -> Self {
        let [segments, items, bytes, failures] = [0; 4].map(AtomicU64::new);
        Events { verb, segments, items, bytes, failures }
    }

    fn print(&self, mut event: serde_json::Value) {
        if let Some(fields) = event.as_object_mut() {
            fields.insert("verb".to_owned(), self.verb.into());
        }
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{event}").and_then(|()| out.flush());
    }
}

impl Progress for Events {
    fn totals(&self, totals: Totals) {
        let Totals { segments, items, bytes } = totals;
        self.print(serde_json::json!({
            "event": "start", "segments": segments, "items": items, "bytes": bytes,
        }));
    }

    fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn items(&self, items: u64) {
        self.items.fetch_add(items, Ordering::Relaxed);
    }

    fn segment(&self, file: &str) {
        let done = self.segments.fetch_add(1, Ordering::Relaxed) + 1;
        self.print(serde_json::json!({
            "event": "segment",
            "segment": file,
            "done": done,
            "failed": self.failures.load(Ordering::Relaxed),
            "items": self.items.load(Ordering::Relaxed),
            "bytes": self.bytes.load(Ordering::Relaxed),
        }));
    }

    fn failure(&self, file: &str, message: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.print(serde_json::json!({
            "event": "failure", "segment": file, "message": message,
        }));
    }
}
