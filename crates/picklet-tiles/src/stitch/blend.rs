//! Blending: what tiles say of the elements that several of them have is averaged, plainly or by
//! a Hann window, or the largest is taken.
//!
//! Weights are products of one weight for each axis, and the grid is regular, so the sum of all
//! weights at an element is a product too: each axis' weights are divided by their sum there, and
//! what tiles add is normalised already. Only where tiles are missing the sums are kept as well.

use half::f16;
use picklet_segments::array::{ByteOrder, Dtype, Plain};
use picklet_segments::{Error, Result};

use super::Mode;
use super::fit::{Axis, Fit};
use crate::block::{Odometer, Place, copy, elements, strides};
use crate::grid::{Grid, Tile};
use crate::raw::zeros;

/// Rows of the whole that are being put together.
pub(crate) struct Blend<'b> {
    grid: &'b Grid,
    fit: &'b Fit,
    mode: Mode,
    plain: Plain,
    /// The axis of the whole along which bands come, and the source's.
    axis: usize,
    source_axis: usize,
    /// The first row that is here.
    first: u64,
    /// The block's shape: the whole's, with the rows that are here.
    shape: Vec<u64>,
    sums: Sums,
    /// The sum of weights at each element, where tiles are missing.
    weights: Option<Vec<f32>>,
    /// Elements of a type of `sums` that make one element of the whole: 2 for complex numbers.
    parts: usize,
}

enum Sums {
    /// Enough for integers of 16 bits.
    Single(Vec<f32>),
    Double(Vec<f64>),
    /// The largest so far, in the tiles' own type, this machine's byte order.
    Largest(Vec<u8>),
}

/// A number type as it stands in tiles.
trait Number: Copy {
    const SIZE: usize;
    const LEAST: Self;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut [u8]);
    fn to_f64(self) -> f64;
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
    /// Begins at the first row.
    ///
    /// # Errors
    /// [`Error::Usage`] when elements of this type cannot be blended so.
    pub(crate) fn new(
        grid: &'b Grid,
        fit: &'b Fit,
        mode: Mode,
        some_missing: bool,
    ) -> Result<Blend<'b>> {
        let (Some((axis, source_axis)), Some(plain)) = (fit.band_axis(), blended(&fit.dtype, mode))
        else {
            return Err(Error::usage(format!(
                "elements of type {} cannot be joined by {mode}: it takes numbers; crop takes all",
                fit.dtype.descr().unwrap_or_default()
            )));
        };
        let parts = if plain.kind == 'c' { 2 } else { 1 };
        let sums = match mode {
            Mode::Max => Sums::Largest(Vec::new()),
            _ if plain.size <= 2 => Sums::Single(Vec::new()),
            _ => Sums::Double(Vec::new()),
        };
        let mut shape = fit.shape.clone();
        if let Some(rows) = shape.get_mut(axis) {
            *rows = 0;
        }
        let weights = some_missing.then(Vec::new);
        Ok(Blend {
            grid,
            fit,
            mode,
            plain,
            axis,
            source_axis,
            first: 0,
            shape,
            sums,
            weights,
            parts,
        })
    }

    /// One part's kind and bytes.
    fn part(&self) -> (char, u64) {
        match self.plain.kind {
            'c' => ('f', self.plain.size / 2),
            kind => (kind, self.plain.size),
        }
    }

    /// Makes room for the rows up to `end`.
    pub(crate) fn extend(&mut self, end: u64) -> Result<()> {
        let rows = end.saturating_sub(self.first);
        if rows > self.rows() { self.reshape(self.first, rows) } else { Ok(()) }
    }

    fn rows(&self) -> u64 {
        self.shape.get(self.axis).copied().unwrap_or(0)
    }

    /// Keeps what there is of the rows from `first` on, and makes it so many rows.
    fn reshape(&mut self, first: u64, rows: u64) -> Result<()> {
        let mut shape = self.shape.clone();
        let zero = vec![0; shape.len()];
        let mut start = zero.clone();
        let mut extent = shape.clone();
        let gone = first.saturating_sub(self.first);
        let stay = self.rows().saturating_sub(gone).min(rows);
        if let (Some(a), Some(b), Some(c)) =
            (shape.get_mut(self.axis), start.get_mut(self.axis), extent.get_mut(self.axis))
        {
            (*a, *b, *c) = (rows, gone, stay);
        }
        let count = usize::try_from(elements(&shape)).unwrap_or(usize::MAX);
        let source = Place { shape: &self.shape, start: &start };
        let target = Place { shape: &shape, start: &zero };
        let parts = self.parts;
        match &mut self.sums {
            Sums::Single(sums) => moved(sums, 0.0, count, parts, source, target, &extent)?,
            Sums::Double(sums) => moved(sums, 0.0, count, parts, source, target, &extent)?,
            Sums::Largest(bytes) => {
                let item = usize::try_from(self.plain.size).unwrap_or(1);
                let mut grown = zeros((count as u64).saturating_mul(item as u64), "".as_ref())?;
                with_number!(self.plain.kind, self.plain.size, least(&mut grown));
                copy(bytes, source, &mut grown, target, &extent, item);
                *bytes = grown;
            }
        }
        if let Some(weights) = &mut self.weights {
            moved(weights, 0.0, count, 1, source, target, &extent)?;
        }
        (self.first, self.shape) = (first, shape);
        Ok(())
    }

    /// Adds a tile's elements.
    pub(crate) fn add(&mut self, tile: &Tile, elements: &[u8]) -> Result<()> {
        let between = || Error::usage("a tile that begins or ends between two elements");
        let window = self.fit.part(&tile.window).ok_or_else(between)?;
        let tile_shape = window.shape();
        let mut swapped;
        let mut bytes = elements;
        let (kind, size) = self.part();
        if !native(&self.plain) {
            swapped = elements.to_vec();
            swap(&mut swapped, usize::try_from(size).unwrap_or(1));
            bytes = &swapped;
        }
        let mut from = Vec::with_capacity(tile_shape.len());
        let mut to = Vec::with_capacity(tile_shape.len());
        let mut extent = Vec::with_capacity(tile_shape.len());
        let mut weights = Vec::with_capacity(tile_shape.len());
        for (axis, (low, high)) in window.0.iter().enumerate() {
            let side = self.fit.shape.get(axis).copied().unwrap_or(0);
            let base = if axis == self.axis { self.first } else { 0 };
            let begin = (*low).max(0);
            let end = (*high).min(i64::try_from(side).unwrap_or(i64::MAX));
            let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
            from.push(unsigned(begin - low));
            to.push(unsigned(begin).saturating_sub(base));
            extent.push(unsigned(end - begin));
            weights.push(self.weights_along(axis, tile, begin, end).ok_or_else(between)?);
        }
        let job = Job {
            tile: Place { shape: &tile_shape, start: &from },
            whole: Place { shape: &self.shape, start: &to },
            extent: &extent,
            weights: &weights,
            parts: self.parts,
        };
        match &mut self.sums {
            Sums::Single(sums) => with_number!(kind, size, add_single(&job, bytes, sums)),
            Sums::Double(sums) => with_number!(kind, size, add_double(&job, bytes, sums)),
            Sums::Largest(largest) => with_number!(kind, size, take_largest(&job, bytes, largest)),
        }
        if let Some(sums) = &mut self.weights {
            let job = Job { parts: 1, ..job };
            job.rows(|_, whole, outer, last| {
                for (place, weight) in
                    sums.get_mut(whole..).unwrap_or_default().iter_mut().zip(last)
                {
                    *place += (outer * weight) as f32;
                }
            });
        }
        Ok(())
    }

    /// The weights of a tile's elements from `begin` to before `end` along an axis of the whole.
    fn weights_along(&self, axis: usize, tile: &Tile, begin: i64, end: i64) -> Option<Vec<f64>> {
        let Axis::Cut { axis: source, scale } = self.fit.axes.get(axis)? else {
            return Some(vec![1.0; usize::try_from(end - begin).ok()?]);
        };
        let own = *tile.at.get(*source)?;
        let window = |place: u64| -> Option<(i64, i64)> {
            let (low, high) = self.grid.window(*source, place)?;
            Some((scale.of(low)?, scale.of(high)?))
        };
        let span = window(own)?;
        let mut weights: Vec<f64> = (begin..end).map(|at| self.weight(span, at)).collect();
        let mut sums = weights.clone();
        // Windows move on with their places, so those that overlap are neighbours.
        let before = (0..own).rev();
        let count = self.grid.counts().get(*source).copied()?;
        let neighbours =
            [Box::new(before) as Box<dyn Iterator<Item = u64>>, Box::new(own + 1..count)];
        for places in neighbours {
            for place in places {
                let (low, high) = window(place)?;
                let (low, high) = (low.max(begin), high.min(end));
                if low >= high {
                    break;
                }
                for at in low..high {
                    let sum = usize::try_from(at - begin).ok().and_then(|at| sums.get_mut(at))?;
                    *sum += self.weight(window(place)?, at);
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

    /// Takes out the rows up to `end`, as bytes of the whole's type. `fill` stands where no tile
    /// said anything.
    pub(crate) fn take(&mut self, end: u64, fill: Option<&[u8]>) -> Result<Vec<u8>> {
        let rows = end.saturating_sub(self.first);
        let keep = self.rows();
        let mut extent = self.shape.clone();
        if let Some(side) = extent.get_mut(self.axis) {
            *side = rows;
        }
        let item = usize::try_from(self.plain.size).unwrap_or(1);
        let count = elements(&extent);
        let mut out = zeros(count.saturating_mul(item as u64), "".as_ref())?;
        let zero = vec![0; extent.len()];
        let source = Place { shape: &self.shape, start: &zero };
        let target = Place { shape: &extent, start: &zero };
        let (kind, size) = self.part();
        let size_bytes = usize::try_from(size).unwrap_or(1);
        let mut weights = Vec::new();
        if let Some(sums) = &self.weights {
            weights = part_of(sums, 1, source, target, &extent);
        }
        let bool = kind == 'b';
        match &self.sums {
            Sums::Single(sums) => {
                let sums = part_of(sums, self.parts, source, target, &extent);
                let values = sums.into_iter().map(f64::from);
                with_number!(kind, size, finished(values, &weights, self.parts, bool, &mut out));
            }
            Sums::Double(sums) => {
                let sums = part_of(sums, self.parts, source, target, &extent);
                let values = sums.into_iter();
                with_number!(kind, size, finished(values, &weights, self.parts, bool, &mut out));
            }
            Sums::Largest(largest) => copy(largest, source, &mut out, target, &extent, item),
        }
        if !native(&self.plain) {
            swap(&mut out, size_bytes);
        }
        if let Some(fill) = fill {
            for (place, weight) in out.chunks_exact_mut(item).zip(&weights) {
                if *weight <= 0.0 && fill.len() == place.len() {
                    place.copy_from_slice(fill);
                }
            }
        }
        self.reshape(end, keep.saturating_sub(rows))?;
        Ok(out)
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

    /// The row after the last that tiles at `place` along the axis have.
    pub(crate) fn reach(&self, place: u64) -> Option<u64> {
        let whole = self.fit.shape.get(self.axis).copied()?;
        let (_, high) = self.grid.window(self.source_axis, place)?;
        let Axis::Cut { scale, .. } = self.fit.axes.get(self.axis)? else { return None };
        u64::try_from(scale.of(high)?).ok().map(|high| high.min(whole))
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

/// Moves a block of numbers into a new one of `count` elements.
fn moved<T: Copy>(
    numbers: &mut Vec<T>,
    zero: T,
    count: usize,
    parts: usize,
    source: Place<'_>,
    target: Place<'_>,
    extent: &[u64],
) -> Result<()> {
    let mut grown = Vec::new();
    let count = count.saturating_mul(parts);
    grown
        .try_reserve_exact(count)
        .map_err(|_| Error::usage("a band of tiles does not fit the memory; cut smaller tiles"))?;
    grown.resize(count, zero);
    place_numbers(numbers, source, &mut grown, target, extent, parts);
    *numbers = grown;
    Ok(())
}

/// A block of numbers, copied out.
fn part_of<T: Copy + Default>(
    numbers: &[T],
    parts: usize,
    source: Place<'_>,
    target: Place<'_>,
    extent: &[u64],
) -> Vec<T> {
    let count = usize::try_from(elements(extent)).unwrap_or(0).saturating_mul(parts);
    let mut out = vec![T::default(); count];
    place_numbers(numbers, source, &mut out, target, extent, parts);
    out
}

fn place_numbers<T: Copy>(
    from: &[T],
    source: Place<'_>,
    to: &mut [T],
    target: Place<'_>,
    extent: &[u64],
    parts: usize,
) {
    let ones: Vec<Vec<f64>> = extent.iter().map(|_| Vec::new()).collect();
    let job = Job { tile: source, whole: target, extent, weights: &ones, parts };
    let run = job.run();
    job.rows(|a, b, _, _| {
        if let (Some(read), Some(write)) = (from.get(a..a + run), to.get_mut(b..b + run)) {
            write.copy_from_slice(read);
        }
    });
}

/// Adding one block of numbers to another.
struct Job<'j> {
    tile: Place<'j>,
    whole: Place<'j>,
    extent: &'j [u64],
    weights: &'j [Vec<f64>],
    parts: usize,
}

impl Job<'_> {
    /// Numbers in a row of the last axis.
    fn run(&self) -> usize {
        let side = self.extent.last().copied().unwrap_or(1);
        usize::try_from(side).unwrap_or(0).saturating_mul(self.parts)
    }

    /// Calls `each` for each row along the last axis: where its numbers begin in both blocks, the
    /// product of the weights of the other axes, and the weights along this one.
    fn rows(&self, mut each: impl FnMut(usize, usize, f64, &[f64])) {
        let Some((_, outer)) = self.extent.split_last() else {
            each(0, 0, 1.0, &[1.0]);
            return;
        };
        if self.extent.contains(&0) {
            return;
        }
        let last = self.weights.last().map(Vec::as_slice).unwrap_or_default();
        let (from_strides, to_strides) = (strides(self.tile.shape), strides(self.whole.shape));
        let mut walk = Odometer::new(outer);
        while let Some(at) = walk.at() {
            let place = |start: &[u64], strides: &[u64]| {
                let mut sum = 0;
                for (axis, (start, stride)) in start.iter().zip(strides).enumerate() {
                    sum += (start + at.get(axis).copied().unwrap_or(0)) * stride;
                }
                usize::try_from(sum).unwrap_or(usize::MAX).saturating_mul(self.parts)
            };
            let weight = at.iter().zip(self.weights).fold(1.0, |product, (at, weights)| {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                product * weights.get(at).copied().unwrap_or(1.0)
            });
            each(
                place(self.tile.start, &from_strides),
                place(self.whole.start, &to_strides),
                weight,
                last,
            );
            walk.step();
        }
    }
}

macro_rules! adding {
    ($name:ident, $sum:ty) => {
        fn $name<T: Number>(job: &Job<'_>, tile: &[u8], sums: &mut [$sum]) {
            let (run, parts) = (job.run(), job.parts);
            job.rows(|from, to, outer, last| {
                let bytes = tile.get(from * T::SIZE..(from + run) * T::SIZE).unwrap_or_default();
                let sums = sums.get_mut(to..to + run).unwrap_or_default();
                let numbers = bytes.chunks_exact(T::SIZE * parts).zip(sums.chunks_exact_mut(parts));
                for ((bytes, sums), weight) in numbers.zip(last) {
                    let weight = outer * weight;
                    for (number, sum) in bytes.chunks_exact(T::SIZE).zip(sums) {
                        *sum += (T::read(number).to_f64() * weight) as $sum;
                    }
                }
            });
        }
    };
}

adding!(add_single, f32);
adding!(add_double, f64);

fn take_largest<T: Number>(job: &Job<'_>, tile: &[u8], largest: &mut [u8]) {
    let run = job.run();
    job.rows(|from, to, _, _| {
        let bytes = tile.get(from * T::SIZE..(from + run) * T::SIZE).unwrap_or_default();
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

/// Turns sums into numbers. `weights` is empty where all sums are whole.
fn finished<T: Number>(
    sums: impl Iterator<Item = f64>,
    weights: &[f32],
    parts: usize,
    bool: bool,
    out: &mut [u8],
) {
    for (number, (sum, place)) in sums.zip(out.chunks_exact_mut(T::SIZE)).enumerate() {
        let weight = weights.get(number / parts).copied().map_or(1.0, f64::from);
        let value = if weight > 0.0 { sum / weight } else { 0.0 };
        let value = if bool { f64::from(u8::from(value >= 0.5)) } else { value };
        T::from_f64(value).write(place);
    }
}
