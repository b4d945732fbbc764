//! Mapping Rust closures over segments, in parallel, with picklet's resume, retries and reports.
//!
//! [`MapSegments::map`] takes and gives your own types by serde; [`MapSegments::map_values`] takes
//! and gives [`Value`]s, which lose nothing. Each thread holds one segment. Outputs are segments
//! that any Python opens, and that any of picklet's maps goes on from.
//!
//! The closure runs in this process: a crash of it is a crash of the process. What it panics with
//! or returns as an error is a segment that failed. Nobody can stop a thread, so
//! [`MapOptions::timeout`] does what can be done without: a closure that took longer is a segment
//! that failed and its output is thrown away, once it returns; one that never returns is waited
//! for. Functions that hang are for worker processes.

use std::any::type_name;
use std::error::Error as StdError;
use std::io::Write as _;
use std::time::{Duration, Instant};

use picklet_segments::engine::{
    Answer, Done, Failed, MapOptions, MapReport, Output, PublishTo, Task, map_in_threads,
};
use picklet_segments::{Location, NoProgress, Progress, Publisher, Segments};
use serde::{Serialize, de::DeserializeOwned};

use crate::value::Value;

/// What a closure returns: its output, or why the segment failed.
pub type Outcome<T> = Result<T, Box<dyn StdError + Send + Sync>>;

/// Mapping, as methods of [`Segments`].
pub trait MapSegments {
    /// Calls `function` with each segment as a `T`, in as many threads as
    /// [`MapOptions::workers`] says, and saves what it gives in `out`.
    ///
    /// A segment that does not deserialise, an error and a panic are failures, which
    /// [`MapOptions::on_error`] and [`MapOptions::retries`] deal with; the report names them. What
    /// is finished is kept, and the next run does only what is left, by the content of the segment
    /// and [`MapOptions::version`].
    ///
    /// # Errors
    /// Those of [`picklet_segments::engine::map_in_threads`]; a segment that failed is none.
    ///
    /// ```
    /// use picklet::segments::engine::MapOptions;
    /// use picklet::segments::{Input, Location, SplitOptions, Target, split};
    /// use picklet::MapSegments as _;
    ///
    /// let directory = std::env::temp_dir().join(format!("picklet-map-{}", std::process::id()));
    /// std::fs::create_dir_all(&directory)?;
    /// let file = directory.join("data.pickle");
    /// std::fs::write(&file, picklet::to_vec(&(0..1000).collect::<Vec<u32>>())?)?;
    /// let options = SplitOptions { target: Target::Items(300), ..SplitOptions::default() };
    /// let input = split(&Input::file(&file)?, &Location::local(directory.join("in")), &options)?;
    ///
    /// let out = Location::local(directory.join("out"));
    /// let report = input.segments.map(&out, &MapOptions::default(), |numbers: Vec<u32>, _| {
    ///     Ok(numbers.iter().sum::<u32>())
    /// })?;
    /// assert_eq!((report.done, report.items), (4, 1000));
    /// let sums = picklet::segments::Segments::open(&out)?;
    /// assert_eq!(picklet::from_slice::<u32>(&sums.read(0)?)?, (0..300).sum::<u32>());
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn map<T, U, F>(
        &self,
        out: &Location,
        options: &MapOptions,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        T: DeserializeOwned,
        U: Serialize,
        F: Fn(T, &Task) -> Outcome<U> + Sync;

    /// As [`MapSegments::map`], with [`Value`]s.
    ///
    /// # Errors
    /// As [`MapSegments::map`].
    fn map_values<F>(
        &self,
        out: &Location,
        options: &MapOptions,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        F: Fn(Value, &Task) -> Outcome<Value> + Sync;

    /// As [`MapSegments::map_values`], from pickle to pickle, with somebody who hears of the
    /// progress and is asked whether to stop.
    ///
    /// # Errors
    /// As [`MapSegments::map`]; `Interrupted` when `interrupt` says yes.
    fn map_pickles<F>(
        &self,
        out: &Location,
        options: &MapOptions,
        progress: &dyn Progress,
        interrupt: &dyn Fn() -> bool,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        F: Fn(&[u8], &Task) -> Outcome<Vec<u8>> + Sync;
}

impl MapSegments for Segments {
    fn map<T, U, F>(
        &self,
        out: &Location,
        options: &MapOptions,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        T: DeserializeOwned,
        U: Serialize,
        F: Fn(T, &Task) -> Outcome<U> + Sync,
    {
        let run = |pickle: &[u8], task: &Task| {
            let segment: T = crate::from_slice(pickle)?;
            Ok(crate::to_vec(&function(segment, task)?)?)
        };
        self.map_pickles(out, options, &NoProgress, &|| false, run)
    }

    fn map_values<F>(
        &self,
        out: &Location,
        options: &MapOptions,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        F: Fn(Value, &Task) -> Outcome<Value> + Sync,
    {
        let run =
            |pickle: &[u8], task: &Task| Ok(function(Value::from_slice(pickle)?, task)?.to_vec()?);
        self.map_pickles(out, options, &NoProgress, &|| false, run)
    }

    fn map_pickles<F>(
        &self,
        out: &Location,
        options: &MapOptions,
        progress: &dyn Progress,
        interrupt: &dyn Fn() -> bool,
        function: F,
    ) -> picklet_segments::Result<MapReport>
    where
        F: Fn(&[u8], &Task) -> Outcome<Vec<u8>> + Sync,
    {
        let places: std::collections::HashMap<u64, usize> =
            self.entries().iter().enumerate().map(|(place, entry)| (entry.index, place)).collect();
        let limit = options.timeout;
        // Kept here, not by the engine, which would have to kill.
        let options = &MapOptions { timeout: None, ..options.clone() };
        let run = |task: &Task, output: &PublishTo| {
            let began = Instant::now();
            let place = places.get(&task.index).copied().unwrap_or(usize::MAX);
            let pickle = self.read(place)?;
            let loaded = Instant::now();
            let made = match function(&pickle, task) {
                Ok(made) => made,
                Err(error) => return Ok(failed::<F>(task, &*error, began)),
            };
            drop(pickle);
            let ran = Instant::now();
            if let Some(limit) = limit.filter(|&limit| ran.duration_since(loaded) > limit) {
                return Ok(overran(task, limit, began));
            }
            let (holds, items) = contents(&made);
            let publisher = Publisher::new(out, &output.session, false)?;
            let mut draft = publisher.draft(&task.output)?;
            draft.write_all(&made).map_err(|error| draft.error(error))?;
            Ok(Answer::Done(Box::new(Done {
                task: task.task,
                outputs: vec![Output { receipt: draft.publish()?, holds, items }],
                load_seconds: loaded.duration_since(began).as_secs_f64(),
                run_seconds: ran.duration_since(loaded).as_secs_f64(),
                dump_seconds: ran.elapsed().as_secs_f64(),
                peak_rss: None,
            })))
        };
        map_in_threads(self, out, &run, options, progress, interrupt)
    }
}

fn failed<F>(task: &Task, error: &(dyn StdError + Send + Sync), began: Instant) -> Answer {
    let mut traceback = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        traceback.push_str(&format!("\ncaused by: {error}"));
        cause = error.source();
    }
    Answer::Failed(Box::new(Failed {
        task: task.task,
        error: "error".to_owned(),
        message: error.to_string(),
        traceback: format!("{traceback}\nin {}", type_name::<F>()),
        item: None,
        seconds: began.elapsed().as_secs_f64(),
        timed_out: false,
        peak_rss: None,
    }))
}

fn overran(task: &Task, limit: Duration, began: Instant) -> Answer {
    let limit = limit.as_secs_f64();
    Answer::Failed(Box::new(Failed {
        task: task.task,
        error: "timeout".to_owned(),
        message: format!("it ran longer than {limit} s, and what it gave was thrown away"),
        traceback: String::new(),
        item: None,
        seconds: began.elapsed().as_secs_f64(),
        timed_out: true,
        peak_rss: None,
    }))
}

/// What a pickle holds, as manifests say it.
fn contents(pickle: &[u8]) -> (String, u64) {
    picklet_segments::engine::contents(pickle).unwrap_or(("object".to_owned(), 1))
}
