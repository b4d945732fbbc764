//! Blending: what tiles say of the elements that several of them have is averaged, plainly or by
//! a Hann window, or the largest is taken.
//!
//! ```text
//! tiles of one band ── held as they are, with what reaches over from the band before ──┐
//! a slab of rows, in sums ◀── the rows that each has of it, weighted ◀─────────────────┘
//! ```
//!
//! Sums are four to eight times as large as what they are of, so they are made for a few rows at a
//! time: memory is the tiles of one band in their own type, and slabs, which are constant. Tiles
//! are added in the order of their numbers, so that the same tiles always give the same bytes.
//!
//! Weights are products of one weight for each axis, and the grid is regular, so the sum of all
//! weights at an element is a product too: each axis' weights are divided by their sum there, and
//! what tiles add is normalised already. Only where tiles are missing the sums are kept as well.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use half::f16;
use picklet_segments::array::{ByteOrder, Dtype, Plain};
use picklet_segments::{Error, Result};

use super::Mode;
use super::fit::{Axis, Fit};
use super::load::Loaded;
use crate::block::{Odometer, Place, copy, elements, strides};
use crate::grid::{Grid, Tile};
use crate::raw::zeros;

/// Bytes of the sums of one slab, unless one row has more.
const SLAB_SUMS: u64 = 2 << 20;

/// Numbers for one element of the last axis that was cut, up to which the weights are repeated for
/// each: one loop over a row is much faster than one for each pixel.
const REPEATED: usize = 16;

/// Tiles of which rows are still to be put together.
pub(crate) struct Blend<'b> {
    grid: &'b Grid,
    fit: &'b Fit,
    mode: Mode,
    plain: Plain,
    /// The axis of the whole along which bands come, and the source's.
    axis: usize,
    source_axis: usize,
    /// The last axis of the whole that was cut; those behind it every tile has whole.
    last: usize,
    /// Numbers for one element of that axis.
    inner: usize,
    /// Bytes of one number: half an element where it is a complex one.
    kind: char,
    size: usize,
    /// Whether the sum of weights is kept, because tiles are missing.
    weighed: bool,
    /// By their tile's number.
    held: Vec<Held>,
    /// The weights of the tiles at a place along an axis of the whole.
    weights: HashMap<(usize, u64), Arc<Vec<f64>>>,
}

/// A tile, or the part of it that is still wanted.
struct Held {
    number: u64,
    /// What of the whole it has, along each axis; without what lies outside of the whole.
    span: Vec<Range<u64>>,
    /// Weights for each element of `span` along each axis; none is 1.
    weights: Vec<Option<Arc<Vec<f64>>>>,
    /// Where the weights along the band's axis begin: what was let go is not in `span` any more.
    passed: usize,
    /// Its elements, in this machine's byte order.
    block: Block,
    /// The block's shape, and where in it `span` begins.
    shape: Vec<u64>,
    start: Vec<u64>,
}

enum Block {
    Whole(Loaded),
    Part(Vec<u8>),
}

impl Block {
    fn elements(&self) -> &[u8] {
        match self {
            Block::Whole(loaded) => loaded.elements(),
            Block::Part(bytes) => bytes,
        }
    }
}

/// A number type as it stands in tiles.
trait Number: Copy {
    const SIZE: usize;
    const LEAST: Self;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut [u8]);
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
    fn from_f64(value: f64) -> Self;
    /// As `numpy.maximum`: what is no number wins.
    fn larger(self, other: Self) -> Self;
}

macro_rules! number {
    ($type:ty, $least:expr, $from:expr, $larger:expr) => {
        impl Number for $type {
            const SIZE: usize = size_of::<$type>();
            const LEAST: Self = $least;
            #[inline]
            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or($least, <$type>::from_ne_bytes)
            }
            #[inline]
            fn write(self, bytes: &mut [u8]) {
                if let Ok(place) = <&mut [u8; size_of::<$type>()]>::try_from(bytes) {
                    *place = self.to_ne_bytes();
                }
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from_lossy(self)
            }
            #[inline]
            fn to_f32(self) -> f32 {
                // Of numbers of up to 16 bits nothing is lost, and no other is read so.
                f64::from_lossy(self) as f32
            }
            #[inline]
            fn from_f64(value: f64) -> Self {
                $from(value)
            }
            #[inline]
            fn larger(self, other: Self) -> Self {
                $larger(self, other)
            }
        }
    };
}

/// Any number as the nearest `f64`.
trait FromLossy<T> {
    fn from_lossy(value: T) -> Self;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl FromLossy<$type> for f64 {
            #[inline]
            fn from_lossy(value: $type) -> f64 {
                value as f64
            }
        }
        // `as` keeps to the type's range.
        number!($type, <$type>::MIN, |v: f64| v.round_ties_even() as $type, |a: $type, b: $type| a.max(b));
    )*};
}

macro_rules! floats {
    ($($type:ty, $to:expr, $from:expr;)*) => {$(
        impl FromLossy<$type> for f64 {
            #[inline]
            fn from_lossy(value: $type) -> f64 {
                $to(value)
            }
        }
        number!($type, <$type>::NEG_INFINITY, $from, |a: $type, b: $type| {
            if b.is_nan() || b > a { b } else { a }
        });
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);
floats! {
    f16, |v: f16| v.to_f64(), f16::from_f64;
    f32, |v: f32| f64::from(v), |v: f64| v as f32;
    f64, |v: f64| v, |v: f64| v;
}

/// Calls `$call::<T>` with the number type that `$kind` and `$size` say.
macro_rules! with_number {
    ($kind:expr, $size:expr, $call:ident($($argument:expr),*)) => {
        match ($kind, $size) {
            ('b' | 'u', 1) => $call::<u8>($($argument),*),
            ('u', 2) => $call::<u16>($($argument),*),
            ('u', 4) => $call::<u32>($($argument),*),
            ('u', 8) => $call::<u64>($($argument),*),
            ('i', 1) => $call::<i8>($($argument),*),
            ('i', 2) => $call::<i16>($($argument),*),
            ('i', 4) => $call::<i32>($($argument),*),
            ('i', 8) => $call::<i64>($($argument),*),
            ('f', 2) => $call::<f16>($($argument),*),
            ('f', 4) => $call::<f32>($($argument),*),
            _ => $call::<f64>($($argument),*),
        }
    };
}

impl<'b> Blend<'b> {
    /// With no tiles yet.
    ///
    /// # Errors
    /// [`Error::Usage`] when elements of this type cannot be blended so.
    pub(crate) fn new(
        grid: &'b Grid,
        fit: &'b Fit,
        mode: Mode,
        some_missing: bool,
    ) -> Result<Blend<'b>> {
        let cut = |axis: &Axis| matches!(axis, Axis::Cut { .. });
        let (Some((axis, source_axis)), Some(last), Some(plain)) =
            (fit.band_axis(), fit.axes.iter().rposition(cut), blended(&fit.dtype, mode))
        else {
            return Err(Error::usage(format!(
                "elements of type {} cannot be joined by {mode}: it takes numbers; crop takes all",
                fit.dtype.descr().unwrap_or_default()
            )));
        };
        let (kind, parts) = if plain.kind == 'c' { ('f', 2) } else { (plain.kind, 1) };
        let inner = elements(fit.shape.get(last + 1..).unwrap_or_default()).saturating_mul(parts);
        Ok(Blend {
            grid,
            fit,
            mode,
            axis,
            source_axis,
            last,
            inner: count(inner),
            kind,
            size: count(plain.size / parts),
            plain,
            weighed: some_missing,
            held: Vec::new(),
            weights: HashMap::new(),
        })
    }

    /// Takes a tile.
    pub(crate) fn hold(&mut self, number: u64, tile: &Tile, mut loaded: Loaded) -> Result<()> {
        let between = || Error::usage("a tile that begins or ends between two elements");
        let window = self.fit.part(&tile.window).ok_or_else(between)?;
        if !native(&self.plain) {
            swap(loaded.elements_mut(), self.size);
        }
        let axes = window.0.len();
        let mut held = Held {
            number,
            span: Vec::with_capacity(axes),
            weights: Vec::with_capacity(axes),
            passed: 0,
            shape: window.shape(),
            start: Vec::with_capacity(axes),
            block: Block::Whole(loaded),
        };
        for (axis, (low, high)) in window.0.iter().enumerate() {
            let side = self.fit.shape.get(axis).copied().unwrap_or(0);
            let begin = (*low).max(0);
            let end = (*high).min(i64::try_from(side).unwrap_or(i64::MAX));
            let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
            held.start.push(unsigned(begin - low));
            held.span.push(unsigned(begin)..unsigned(end));
            held.weights.push(self.weights_along(axis, tile, begin, end).ok_or_else(between)?);
        }
        let place = self.held.partition_point(|other| other.number < number);
        self.held.insert(place, held);
        Ok(())
    }

    /// The weights of a tile's elements from `begin` to before `end` along an axis of the whole.
    fn weights_along(
        &mut self,
        axis: usize,
        tile: &Tile,
        begin: i64,
        end: i64,
    ) -> Option<Option<Arc<Vec<f64>>>> {
        let Axis::Cut { axis: source, .. } = *self.fit.axes.get(axis)? else { return Some(None) };
        if self.mode == Mode::Max {
            return Some(None);
        }
        let own = *tile.at.get(source)?;
        if let Some(known) = self.weights.get(&(axis, own)) {
            return Some(Some(known.clone()));
        }
        let weights = Arc::new(self.normalised(axis, own, begin, end)?);
        if axis != self.axis {
            // Each band has the same ones; along the band's axis each has its own.
            self.weights.insert((axis, own), weights.clone());
        }
        Some(Some(weights))
    }

    fn normalised(&self, axis: usize, own: u64, begin: i64, end: i64) -> Option<Vec<f64>> {
        let Axis::Cut { axis: source, scale } = *self.fit.axes.get(axis)? else { return None };
        let window = |place: u64| -> Option<(i64, i64)> {
            let (low, high) = self.grid.window(source, place)?;
            Some((scale.of(low)?, scale.of(high)?))
        };
        let span = window(own)?;
        let mut weights: Vec<f64> = (begin..end).map(|at| self.weight(span, at)).collect();
        let mut sums = weights.clone();
        // Windows move on with their places, so those that overlap are neighbours.
        let before = (0..own).rev();
        let count = self.grid.counts().get(source).copied()?;
        let neighbours =
            [Box::new(before) as Box<dyn Iterator<Item = u64>>, Box::new(own + 1..count)];
        for places in neighbours {
            for place in places {
                let span = window(place)?;
                let (low, high) = (span.0.max(begin), span.1.min(end));
                if low >= high {
                    break;
                }
                for at in low..high {
                    let sum = usize::try_from(at - begin).ok().and_then(|at| sums.get_mut(at))?;
                    *sum += self.weight(span, at);
                }
            }
        }
        for (weight, sum) in weights.iter_mut().zip(sums) {
            *weight /= sum;
        }
        Some(weights)
    }

    /// A window's weight at a place, before it is normalised.
    fn weight(&self, (low, high): (i64, i64), at: i64) -> f64 {
        match self.mode {
            Mode::Hann => {
                let place = (at - low) as f64 + 0.5;
                let sine = (std::f64::consts::PI * place / (high - low) as f64).sin();
                // Never nothing: somebody has to say what an element is.
                (sine * sine).max(1e-9)
            }
            _ => 1.0,
        }
    }

    /// Puts rows of the whole together, slab by slab, up to `threads` at the same time, and hands
    /// each on in order: its first row, its rows, and its bytes in the whole's type. `fill` stands
    /// where no tile said anything.
    pub(crate) fn rows(
        &self,
        rows: Range<u64>,
        fill: Option<&[u8]>,
        threads: usize,
        mut each: impl FnMut(u64, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let height = self.slab_rows();
        let mut slabs = Vec::new();
        let mut first = rows.start;
        while first < rows.end {
            let end = first.saturating_add(height).min(rows.end);
            slabs.push(first..end);
            first = end;
        }
        for slabs in slabs.chunks(threads.max(1)) {
            let made: Vec<Result<Vec<u8>>> = std::thread::scope(|scope| {
                let started: Vec<_> = slabs
                    .iter()
                    .map(|rows| scope.spawn(move || self.slab(rows.clone(), fill)))
                    .collect();
                let joined = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<u8>>>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                started.into_iter().map(joined).collect()
            });
            for (rows, bytes) in slabs.iter().zip(made) {
                each(rows.start, rows.end - rows.start, &bytes?)?;
            }
        }
        Ok(())
    }

    /// Rows of one slab.
    fn slab_rows(&self) -> u64 {
        let others = self.fit.shape.iter().enumerate().filter(|(axis, _)| *axis != self.axis);
        let row = others.fold(1u64, |n, (_, side)| n.saturating_mul(*side));
        let wide = if self.single() { 4 } else { 8 };
        let row =
            row.saturating_mul(wide).saturating_mul(if self.plain.kind == 'c' { 2 } else { 1 });
        SLAB_SUMS.checked_div(row).unwrap_or(1).max(1)
    }

    /// Whether sums of `f32` are enough: for 16 bits they are exact to a small part of 1.
    fn single(&self) -> bool {
        self.size <= 2
    }

    /// Some rows of the whole.
    fn slab(&self, rows: Range<u64>, fill: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut shape = self.fit.shape.clone();
        if let Some(side) = shape.get_mut(self.axis) {
            *side = rows.end - rows.start;
        }
        let item = count(self.plain.size);
        let pixels = count(elements(&shape));
        let numbers = pixels.saturating_mul(item / self.size.max(1));
        let mut out = zeros((pixels as u64).saturating_mul(item as u64), "".as_ref())?;
        let places =
            pixels / elements(shape.get(self.last + 1..).unwrap_or_default()).max(1) as usize;
        let mut weights = if self.weighed { buffer(places, 0f32)? } else { Vec::new() };
        let (kind, size) = (self.kind, self.size);
        if self.mode == Mode::Max {
            with_number!(kind, size, least(&mut out));
            for job in self.jobs(&rows, &shape) {
                with_number!(kind, size, take_largest(&job, &mut out));
                job.weigh(&mut weights);
            }
        } else if self.single() {
            let mut sums = buffer(numbers, 0f32)?;
            for job in self.jobs(&rows, &shape) {
                with_number!(kind, size, add_single(&job, &mut sums));
                job.weigh(&mut weights);
            }
            let sums = sums.into_iter().map(f64::from);
            with_number!(kind, size, finished(sums, &weights, self.inner, kind == 'b', &mut out));
        } else {
            let mut sums = buffer(numbers, 0f64)?;
            for job in self.jobs(&rows, &shape) {
                with_number!(kind, size, add_double(&job, &mut sums));
                job.weigh(&mut weights);
            }
            let sums = sums.into_iter();
            with_number!(kind, size, finished(sums, &weights, self.inner, kind == 'b', &mut out));
        }
        if !native(&self.plain) {
            swap(&mut out, size);
        }
        if let Some(fill) = fill.filter(|fill| fill.len() == item) {
            let inner = self.inner.saturating_mul(size);
            for (places, weight) in out.chunks_exact_mut(inner.max(1)).zip(&weights) {
                if *weight <= 0.0 {
                    places.chunks_exact_mut(item).for_each(|place| place.copy_from_slice(fill));
                }
            }
        }
        Ok(out)
    }

    /// What each tile has of a slab.
    fn jobs<'j>(
        &'j self,
        rows: &'j Range<u64>,
        shape: &'j [u64],
    ) -> impl Iterator<Item = Job<'j>> + 'j {
        self.held.iter().filter_map(|held| self.job(held, rows, shape))
    }

    fn job<'j>(&self, held: &'j Held, rows: &Range<u64>, shape: &[u64]) -> Option<Job<'j>> {
        let cut = self.last;
        let (from_strides, to_strides) = (strides(&held.shape), strides(shape));
        let parts = self.plain.size / self.size.max(1) as u64;
        let (mut from, mut to) = (0, 0);
        let mut extent = Vec::with_capacity(cut + 1);
        let mut weights = Vec::with_capacity(cut + 1);
        for (axis, span) in held.span.iter().enumerate().take(cut + 1) {
            let (mut begin, mut end, mut skip, mut base) = (span.start, span.end, 0, 0);
            if axis == self.axis {
                begin = begin.max(rows.start);
                end = end.min(rows.end);
                skip = count(begin.saturating_sub(span.start)) + held.passed;
                base = rows.start;
            }
            let side = end.checked_sub(begin).filter(|side| *side > 0)?;
            from += (held.start.get(axis)? + (begin - span.start)) * from_strides.get(axis)?;
            to += (begin - base) * to_strides.get(axis)?;
            let along = held.weights.get(axis)?.as_deref();
            weights.push(along.and_then(|along| along.get(skip..skip + count(side))));
            extent.push(side);
        }
        let scaled = |strides: Vec<u64>| -> Vec<usize> {
            strides.iter().take(cut).map(|stride| count(stride * parts)).collect()
        };
        let side = count(extent.pop()?);
        Some(Job {
            bytes: held.block.elements(),
            from: count(from * parts),
            to: count(to * parts),
            from_strides: scaled(from_strides),
            to_strides: scaled(to_strides),
            outer: extent,
            last: weights.pop()?,
            weights,
            side,
            inner: self.inner,
        })
    }

    /// Lets go of the rows before `row`.
    pub(crate) fn let_go(&mut self, row: u64) -> Result<()> {
        let axis = self.axis;
        let item = count(self.plain.size);
        self.held.retain(|held| held.span.get(axis).is_some_and(|span| span.end > row));
        for held in &mut self.held {
            let Some(span) = held.span.get_mut(axis).filter(|span| span.start < row) else {
                continue;
            };
            let gone = row - span.start;
            span.start = row;
            held.passed += count(gone);
            if let Some(start) = held.start.get_mut(axis) {
                *start += gone;
            }
            let extent: Vec<u64> = held.span.iter().map(|span| span.end - span.start).collect();
            let bytes = elements(&extent).saturating_mul(item as u64);
            let mut kept = zeros(bytes, "".as_ref())?;
            let zero = vec![0; extent.len()];
            let source = Place { shape: &held.shape, start: &held.start };
            let target = Place { shape: &extent, start: &zero };
            copy(held.block.elements(), source, &mut kept, target, &extent, item);
            held.block = Block::Part(kept);
            held.shape = extent;
            held.start = zero;
        }
        Ok(())
    }

    /// The band's rows that no tile of a later place along the axis has: up to which row.
    pub(crate) fn ready(&self, place: u64) -> Option<u64> {
        let whole = self.fit.shape.get(self.axis).copied()?;
        let count = self.grid.counts().get(self.source_axis).copied()?;
        if place + 1 >= count {
            return Some(whole);
        }
        let (low, _) = self.grid.window(self.source_axis, place + 1)?;
        let Axis::Cut { scale, .. } = self.fit.axes.get(self.axis)? else { return None };
        u64::try_from(scale.of(low)?.max(0)).ok().map(|low| low.min(whole))
    }
}

/// The number type of the elements, if they can be blended so.
fn blended(dtype: &Dtype, mode: Mode) -> Option<Plain> {
    let plain = dtype.as_plain()?;
    let fits = match plain.kind {
        'b' | 'u' | 'i' => true,
        'f' => plain.size <= 8,
        'c' => mode != Mode::Max && plain.size <= 16,
        _ => false,
    };
    fits.then(|| plain.clone())
}

fn native(plain: &Plain) -> bool {
    plain.order == ByteOrder::Irrelevant || Some(plain.order) == ByteOrder::from_char('=')
}

fn swap(bytes: &mut [u8], size: usize) {
    for number in bytes.chunks_exact_mut(size.max(1)) {
        number.reverse();
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn buffer<T: Copy>(len: usize, zero: T) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(len)
        .map_err(|_| Error::usage("a row of the whole does not fit the memory"))?;
    buffer.resize(len, zero);
    Ok(buffer)
}

/// What one tile has of a slab: rows along the last axis that was cut.
struct Job<'j> {
    /// The tile's numbers.
    bytes: &'j [u8],
    /// Where the first row begins in the tile and in the slab, in numbers.
    from: usize,
    to: usize,
    /// The axes before the last that was cut: sides, steps in both, weights.
    outer: Vec<u64>,
    from_strides: Vec<usize>,
    to_strides: Vec<usize>,
    weights: Vec<Option<&'j [f64]>>,
    /// Elements of a row, numbers for each of them, and their weights.
    side: usize,
    inner: usize,
    last: Option<&'j [f64]>,
}

impl Job<'_> {
    /// Calls `each` for each row: where its numbers begin in the tile and in the slab, and the
    /// product of the weights of the other axes.
    fn rows(&self, mut each: impl FnMut(usize, usize, f64)) {
        let mut walk = Odometer::new(&self.outer);
        while let Some(at) = walk.at() {
            let (mut from, mut to, mut weight) = (self.from, self.to, 1.0);
            let steps = self.from_strides.iter().zip(&self.to_strides).zip(&self.weights);
            for (at, ((from_step, to_step), weights)) in at.iter().zip(steps) {
                let at = count(*at);
                from += at * from_step;
                to += at * to_step;
                weight *= weights.and_then(|weights| weights.get(at)).copied().unwrap_or(1.0);
            }
            each(from, to, weight);
            walk.step();
        }
    }

    /// The weights of a row's numbers, where there are not too many for each element.
    fn repeated(&self) -> Option<Vec<f64>> {
        let along = |at: usize| self.last.and_then(|last| last.get(at)).copied().unwrap_or(1.0);
        let each = |at: usize| std::iter::repeat_n(along(at), self.inner);
        (self.inner <= REPEATED).then(|| (0..self.side).flat_map(each).collect())
    }

    /// Adds the weights themselves, one for each element of the last axis that was cut.
    fn weigh(&self, sums: &mut [f32]) {
        if sums.is_empty() {
            return;
        }
        self.rows(|_, to, weight| {
            let at = to / self.inner.max(1);
            for (place, sum) in
                sums.get_mut(at..at + self.side).unwrap_or_default().iter_mut().enumerate()
            {
                let last = self.last.and_then(|last| last.get(place)).copied().unwrap_or(1.0);
                *sum += (weight * last) as f32;
            }
        });
    }
}

macro_rules! adding {
    ($name:ident, $sum:ty, $number:ident) => {
        fn $name<T: Number>(job: &Job<'_>, sums: &mut [$sum]) {
            let run = job.side * job.inner;
            let repeated = job.repeated();
            let repeated: Option<Vec<$sum>> =
                repeated.map(|weights| weights.into_iter().map(|weight| weight as $sum).collect());
            job.rows(|from, to, weight| {
                let bytes = job.bytes.get(from * T::SIZE..(from + run) * T::SIZE);
                let bytes = bytes.unwrap_or_default();
                let sums = sums.get_mut(to..to + run).unwrap_or_default();
                let add = |weight: $sum, bytes: &[u8], sum: &mut $sum| {
                    *sum += T::read(bytes).$number() * weight;
                };
                if let Some(repeated) = &repeated {
                    let outer = weight as $sum;
                    let numbers = bytes.chunks_exact(T::SIZE).zip(sums).zip(repeated);
                    numbers.for_each(|((bytes, sum), weight)| add(outer * weight, bytes, sum));
                    return;
                }
                let elements =
                    bytes.chunks_exact(T::SIZE * job.inner).zip(sums.chunks_exact_mut(job.inner));
                for (at, (bytes, sums)) in elements.enumerate() {
                    let last = job.last.and_then(|last| last.get(at)).copied().unwrap_or(1.0);
                    let weight = (weight * last) as $sum;
                    bytes.chunks_exact(T::SIZE).zip(sums).for_each(|(b, sum)| add(weight, b, sum));
                }
            });
        }
    };
}

adding!(add_single, f32, to_f32);
adding!(add_double, f64, to_f64);

fn take_largest<T: Number>(job: &Job<'_>, largest: &mut [u8]) {
    let run = job.side * job.inner;
    job.rows(|from, to, _| {
        let bytes = job.bytes.get(from * T::SIZE..(from + run) * T::SIZE).unwrap_or_default();
        let places = largest.get_mut(to * T::SIZE..(to + run) * T::SIZE).unwrap_or_default();
        for (number, place) in bytes.chunks_exact(T::SIZE).zip(places.chunks_exact_mut(T::SIZE)) {
            T::read(place).larger(T::read(number)).write(place);
        }
    });
}

fn least<T: Number>(block: &mut [u8]) {
    for place in block.chunks_exact_mut(T::SIZE) {
        T::LEAST.write(place);
    }
}

/// Turns sums into numbers. `weights` is empty where all sums are whole, else it has one for each
/// `inner` numbers.
fn finished<T: Number>(
    sums: impl Iterator<Item = f64>,
    weights: &[f32],
    inner: usize,
    truth: bool,
    out: &mut [u8],
) {
    let places = out.chunks_exact_mut(T::SIZE);
    let value = |sum: f64| if truth { f64::from(u8::from(sum >= 0.5)) } else { sum };
    if weights.is_empty() {
        sums.zip(places).for_each(|(sum, place)| T::from_f64(value(sum)).write(place));
        return;
    }
    for (number, (sum, place)) in sums.zip(places).enumerate() {
        let weight = weights.get(number / inner.max(1)).copied().map_or(1.0, f64::from);
        let sum = if weight > 0.0 { sum / weight } else { 0.0 };
        T::from_f64(value(sum)).write(place);
    }
}
