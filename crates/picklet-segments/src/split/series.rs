//! The segments that one run writes, one after another.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::emit::Halt;
use super::{Guarded, Shared, SplitOptions, SplitReport, copies_made, file_name};
use crate::error::{Error, Result};
use crate::manifest::{Entry, Header, SharedCounts};
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

/// Writes numbered segments; leaves alone those that an earlier run has made.
pub(crate) struct Series<'s> {
    out: &'s Location,
    options: &'s SplitOptions<'s>,
    writer: SegmentsWriter,
    /// Segments of an earlier run, by number.
    done: HashMap<u64, Entry>,
    /// The next segment's number, and its first item's.
    pub(crate) index: u64,
    pub(crate) first: u64,
    shared: SharedCounts,
    resumed: u64,
}

impl<'s> Series<'s> {
    /// Takes the directory `out`.
    ///
    /// # Errors
    /// Those of [`SegmentsWriter::create`].
    pub(crate) fn create(
        out: &'s Location,
        options: &'s SplitOptions<'s>,
        existing: Existing,
        mut header: Header,
    ) -> Result<Self> {
        header.sha256 = options.sha256;
        let writer = SegmentsWriter::create(out, existing, header)?;
        let done = writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
        let shared = SharedCounts::default();
        Ok(Series { out, options, writer, done, index: 0, first: 0, shared, resumed: 0 })
    }

    /// What the segments are said to be.
    pub(crate) fn header(&self) -> &Header {
        self.writer.header()
    }

    /// Writes the next segment, of `items` items, by `make`, which tells what it shares with
    /// others. `source` is named when that is refused.
    pub(crate) fn write(
        &mut self,
        source: &Path,
        items: u64,
        make: impl FnOnce(&mut BufWriter<&mut Guarded<'_>>, &Path) -> Result<SharedCounts, Halt>,
    ) -> Result<(), Halt> {
        let file = file_name(self.options, self.index, self.first)?;
        let earlier = self.done.get(&self.index);
        let kept = earlier.filter(|entry| entry.file == file && entry.items == Some(items));
        let shared = if let Some(entry) = kept {
            self.resumed += 1;
            entry.shared.unwrap_or_default()
        } else {
            if let Some(entry) = earlier {
                self.writer.discard(&entry.file)?;
            }
            let mut guarded = Guarded::new(self.writer.draft(&file)?, self.options.interrupt);
            let path = self.out.path().join(&file);
            let mut out = BufWriter::with_capacity(64 * 1024, &mut guarded);
            let made = make(&mut out, &path).and_then(|shared| {
                out.flush().map_err(|error| Error::io("write", &path, error))?;
                Ok(shared)
            });
            drop(out.into_parts());
            if guarded.stopped {
                return Err(Error::Interrupted.into());
            }
            let shared = made?;
            if shared.mutable > 0 && self.options.shared == Shared::Error {
                return Err(Error::input(
                    source,
                    None,
                    format!(
                        "items {} to {} share {} objects that can change with items that come \
                         into other segments; --shared copy gives each segment its own copy",
                        self.first,
                        (self.first + items).saturating_sub(1),
                        shared.mutable
                    ),
                )
                .into());
            }
            let (index, items) = (self.index, Some(items));
            let meta = EntryMeta { index, items, shared: Some(shared), ..EntryMeta::default() };
            self.writer.commit(guarded.draft, meta)?;
            shared
        };
        self.shared += shared;
        self.options.progress.items(items);
        self.options.progress.segment(&file);
        self.index += 1;
        self.first += items;
        Ok(())
    }

    /// Ends the run.
    pub(crate) fn finish(self) -> Result<SplitReport> {
        Ok(SplitReport {
            items: self.first,
            resumed: self.resumed,
            shared: self.shared,
            warnings: copies_made(self.shared, self.options.shared).into_iter().collect(),
            segments: self.writer.finish()?,
        })
    }
}
