//! Dicts that have the keys of one before: records.
//!
//! A pickle says the keys of its second record by GET, so that they are the very objects of the
//! first one's. From the third on the table of such a dict is copied whole and the values put
//! into it, which costs a fraction of setting item by item.

use crate::object::{Obj, Owned, Raised, Template, dict_len, str_type};

/// Shapes that are remembered at a time.
const SHAPES: usize = 8;
/// Pairs from which copying pays, and up to which keys are compared.
const LEAST_PAIRS: usize = 2;
const MOST_PAIRS: usize = 64;

/// A shape as it is looked up: the address of the first key, and the number of pairs.
type Shape = (usize, usize);

/// The shapes of a load. Most loads are small and have none, so that its places are made late.
#[derive(Default)]
pub(super) struct Templates {
    places: Vec<Place>,
}

#[derive(Default)]
struct Place {
    /// A shape that was seen once: a hint, never followed.
    seen: Shape,
    known: Option<(Shape, Template)>,
}

#[inline(always)]
fn shape(pairs: &[Owned]) -> Option<(usize, Shape)> {
    let first = pairs.first()?;
    let count = pairs.len() / 2;
    if !(LEAST_PAIRS..=MOST_PAIRS).contains(&count) {
        return None;
    }
    let address = first.ptr() as usize;
    Some(((address >> 4 ^ count) % SHAPES, (address, count)))
}

impl Templates {
    /// The template that has the keys of these pairs.
    #[inline(always)]
    pub(super) fn find(&self, pairs: &[Owned]) -> Option<&Template> {
        let (place, shape) = shape(pairs)?;
        match &self.places.get(place)?.known {
            Some((known, template)) if *known == shape && template.fits(pairs) => Some(template),
            _ => None,
        }
    }

    /// These pairs are about to be set in an empty dict: the shape to [`Templates::learn`] from
    /// it, if it was seen before.
    #[inline]
    pub(super) fn note(&mut self, pairs: &[Owned]) -> Option<(usize, Shape)> {
        let (place, shape) = shape(pairs)?;
        if self.places.is_empty() {
            self.places.resize_with(SHAPES, Place::default);
        }
        let seen = &mut self.places.get_mut(place)?.seen;
        if *seen != shape {
            *seen = shape;
            return None;
        }
        let text = pairs.iter().step_by(2).all(|key| key.obj().ty() == str_type());
        text.then_some((place, shape))
    }

    /// Makes a template of a dict that has just been filled.
    #[cold]
    pub(super) fn learn(
        &mut self,
        (place, shape): (usize, Shape),
        dict: Obj,
    ) -> Result<(), Raised> {
        if dict_len(dict) == shape.1
            && let Some(place) = self.places.get_mut(place)
        {
            place.known = Template::of(dict)?.map(|template| (shape, template));
        }
        Ok(())
    }
}
