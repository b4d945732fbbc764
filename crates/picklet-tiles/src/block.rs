//! Blocks of n-d arrays in memory, as bytes in C order: copied, transposed, padded.
//!
//! Nothing here knows types; an element is so many bytes.

use crate::grid::Grid;

/// Walks over all index tuples of a shape, the last axis fastest. One empty tuple for no axes.
pub(crate) struct Odometer {
    shape: Vec<u64>,
    at: Vec<u64>,
    over: bool,
}

impl Odometer {
    pub(crate) fn new(shape: &[u64]) -> Self {
        Odometer { over: shape.contains(&0), shape: shape.to_vec(), at: vec![0; shape.len()] }
    }

    /// The present index tuple.
    pub(crate) fn at(&self) -> Option<&[u64]> {
        (!self.over).then_some(&self.at)
    }

    /// Goes on to the next.
    pub(crate) fn step(&mut self) {
        for (place, side) in self.at.iter_mut().zip(&self.shape).rev() {
            *place += 1;
            if *place < *side {
                return;
            }
            *place = 0;
        }
        self.over = true;
    }
}

/// Elements from one index to the next along each axis, in C order.
pub(crate) fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    let mut step = 1u64;
    for (stride, side) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(*side);
    }
    strides
}

/// Elements of a block; saturates.
pub(crate) fn elements(shape: &[u64]) -> u64 {
    shape.iter().fold(1u64, |all, side| all.saturating_mul(*side))
}

fn dot(at: &[u64], strides: &[u64]) -> u64 {
    at.iter().zip(strides).fold(0, |sum, (at, stride)| sum + at * stride)
}

fn bytes(buffer: &[u8], start: u64, len: usize) -> &[u8] {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    buffer.get(start..start.saturating_add(len)).unwrap_or_default()
}

fn bytes_mut(buffer: &mut [u8], start: u64, len: usize) -> &mut [u8] {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    buffer.get_mut(start..start.saturating_add(len)).unwrap_or_default()
}

/// Copies where both have one length; they differ only where a caller's lengths were wrong, and
/// then nothing is better than a panic.
fn put(write: &mut [u8], read: &[u8]) {
    if write.len() == read.len() {
        write.copy_from_slice(read);
    }
}

/// A block inside an array: the array's shape, and where the block begins in it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p> {
    pub(crate) shape: &'p [u64],
    pub(crate) start: &'p [u64],
}

/// Copies a block of `extent` from one array to another of as many axes. Both must hold it.
pub(crate) fn copy(
    from: &[u8],
    source: Place<'_>,
    to: &mut [u8],
    target: Place<'_>,
    extent: &[u64],
    item: usize,
) {
    if extent.contains(&0) || item == 0 {
        return;
    }
    // Axes at the end that both arrays have whole are one run of bytes.
    let mut outer = extent.len();
    let mut run = item as u64;
    for ((side, a), b) in extent.iter().zip(source.shape).zip(target.shape).rev() {
        outer -= 1;
        run *= side;
        if side != a || side != b {
            break;
        }
    }
    let run_bytes = usize::try_from(run).unwrap_or(usize::MAX);
    let scaled = |shape: &[u64]| -> Vec<u64> {
        strides(shape).into_iter().map(|stride| stride * item as u64).collect()
    };
    let (from_strides, to_strides) = (scaled(source.shape), scaled(target.shape));
    let from_base = dot(source.start, &from_strides);
    let to_base = dot(target.start, &to_strides);
    let mut walk = Odometer::new(extent.get(..outer).unwrap_or_default());
    while let Some(at) = walk.at() {
        let read = bytes(from, from_base + dot(at, &from_strides), run_bytes);
        let write = bytes_mut(to, to_base + dot(at, &to_strides), run_bytes);
        put(write, read);
        walk.step();
    }
}

/// Turns a block whose axes stand in memory in the order `axes` (longest steps first) into C
/// order. `shape` is in the array's own order of axes.
pub(crate) fn to_c_order(from: &[u8], shape: &[u64], axes: &[usize], item: usize) -> Vec<u8> {
    let mut to = vec![0; from.len()];
    let memory: Vec<u64> = axes.iter().filter_map(|axis| shape.get(*axis).copied()).collect();
    let memory_strides = strides(&memory);
    // Elements between neighbours along each of the array's axes, in `from`.
    let mut from_strides = vec![0u64; shape.len()];
    for (axis, stride) in axes.iter().zip(&memory_strides) {
        if let Some(place) = from_strides.get_mut(*axis) {
            *place = *stride;
        }
    }
    let Some((last, outer)) = shape.split_last() else {
        put(&mut to, from);
        return to;
    };
    let step = from_strides.last().copied().unwrap_or(0) * item as u64;
    let mut out = 0u64;
    let mut walk = Odometer::new(outer);
    while let Some(at) = walk.at() {
        let mut start = dot(at, &from_strides) * item as u64;
        for _ in 0..*last {
            put(bytes_mut(&mut to, out, item), bytes(from, start, item));
            start += step;
            out += item as u64;
        }
        walk.step();
    }
    to
}

/// What a tile's window is made from: along each axis, for each place of the window, the place in
/// the block that was read, or `None` for nothing.
pub(crate) struct Gather {
    axes: Vec<Vec<Option<u64>>>,
    /// The block to be read, along each axis from the first to before the second.
    pub(crate) hull: Vec<(u64, u64)>,
    /// Whether the window is just the hull.
    pub(crate) plain: bool,
}

impl Gather {
    /// For a window of `grid`.
    pub(crate) fn new(grid: &Grid, window: &[(i64, i64)]) -> Gather {
        let mut axes = Vec::with_capacity(window.len());
        let mut hull = Vec::with_capacity(window.len());
        let mut plain = true;
        for (axis, (start, stop)) in window.iter().enumerate() {
            let (low, high) = grid.hull(axis, (*start, *stop));
            plain &= (low, high) == (*start, *stop);
            let within = |place: i64| {
                let shown = grid.shows(axis, place)?;
                u64::try_from(shown - low).ok()
            };
            axes.push(if (low, high) == (*start, *stop) {
                Vec::new()
            } else {
                (*start..*stop).map(within).collect()
            });
            hull.push((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)));
        }
        Gather { axes, hull, plain }
    }

    /// The sides of the hull.
    pub(crate) fn hull_shape(&self) -> Vec<u64> {
        self.hull.iter().map(|(low, high)| high - low).collect()
    }

    /// Makes the window of this shape, in `to`, of the hull's bytes. What shows nothing stays as
    /// it is.
    pub(crate) fn window(&self, hull: &[u8], shape: &[u64], item: usize, to: &mut [u8]) {
        let hull_strides = strides(&self.hull_shape());
        let Some((last, outer)) = shape.split_last() else { return };
        let last_axis = self.axes.last().filter(|axis| !axis.is_empty());
        let place = |axis: usize, at: u64| -> Option<u64> {
            match self.axes.get(axis) {
                Some(map) if !map.is_empty() => {
                    map.get(usize::try_from(at).ok()?).copied().flatten()
                }
                _ => Some(at),
            }
        };
        let row = usize::try_from(*last).unwrap_or(0) * item;
        let mut out = 0u64;
        let mut walk = Odometer::new(outer);
        while let Some(at) = walk.at() {
            let start = at.iter().enumerate().try_fold(0u64, |sum, (axis, at)| {
                Some(sum + place(axis, *at)? * hull_strides.get(axis)?)
            });
            if let Some(start) = start {
                let start = start * item as u64;
                match last_axis {
                    None => put(bytes_mut(to, out, row), bytes(hull, start, row)),
                    Some(map) => {
                        for (at, shown) in map.iter().enumerate() {
                            if let Some(shown) = shown {
                                let read = bytes(hull, start + shown * item as u64, item);
                                let write = bytes_mut(to, out + (at * item) as u64, item);
                                put(write, read);
                            }
                        }
                    }
                }
            }
            out += row as u64;
            walk.step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Edge;

    #[test]
    fn blocks_are_copied_between_arrays_of_different_shapes() {
        let from: Vec<u8> = (0..24).collect();
        let mut to = vec![0; 12];
        copy(
            &from,
            Place { shape: &[4, 6], start: &[1, 2] },
            &mut to,
            Place { shape: &[3, 4], start: &[1, 0] },
            &[2, 3],
            1,
        );
        assert_eq!(to, [0, 0, 0, 0, 8, 9, 10, 0, 14, 15, 16, 0]);
    }

    #[test]
    fn fortran_order_becomes_c_order() {
        // The array [[0, 1, 2], [3, 4, 5]] in Fortran's order.
        assert_eq!(to_c_order(&[0, 3, 1, 4, 2, 5], &[2, 3], &[1, 0], 1), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn windows_mirror_or_stay_empty_outside() {
        let cut = |edge| {
            let grid = Grid::new(&[3, 2], &[Some(2), Some(2)], &[2, 0], edge).unwrap();
            let gather = Gather::new(&grid, &[(-2, 4), (0, 2)]);
            assert_eq!(gather.hull, [(0, 3), (0, 2)]);
            let mut window = vec![0; 12];
            gather.window(&[1, 2, 3, 4, 5, 6], &[6, 2], 1, &mut window);
            window
        };
        assert_eq!(cut(Edge::Reflect), [5, 6, 3, 4, 1, 2, 3, 4, 5, 6, 3, 4]);
        assert_eq!(cut(Edge::Constant), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]);
    }
}
