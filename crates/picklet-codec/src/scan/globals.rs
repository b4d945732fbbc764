//! The globals that a pickle names, each once, and the classes that its objects are made of.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use super::danger;
use super::finding::Import;
use super::sym::MAX_GLOBALS;
use crate::policy::{Entry, Facts, Policy, Rule};

/// One global.
pub(super) struct Global {
    pub(super) import: Import,
    pub(super) rule: Rule,
    /// What it does, where it is known to be dangerous.
    pub(super) danger: Option<&'static str>,
}

/// What made an object, and what the policy holds of its class.
pub(super) struct Maker {
    /// What was called.
    pub(super) name: String,
    pub(super) class: Rule,
    /// What calling the object is listed as, if anything.
    pub(super) gives: Option<&'static Entry>,
    /// Something dangerous made it, so that anything may be behind it.
    pub(super) danger: Option<&'static str>,
    /// The global whose states are counted.
    pub(super) global: Option<u32>,
}

/// A class as a word that tells it from others.
fn class_word(class: Rule) -> usize {
    match class {
        Rule::Listed(entry) => std::ptr::from_ref(entry) as usize,
        Rule::Vouched | Rule::VouchedIfDefinedThere => 1,
        Rule::Unlisted => 0,
    }
}

/// Facts about objects that are kept for the objects made last.
const CELLS: usize = 1 << 16;
/// Dtypes that are kept for good.
const LASTING: usize = 1 << 16;
const LASTING_BIT: u32 = 1 << 31;

/// All of them.
pub(super) struct Globals {
    all: Vec<Global>,
    by_name: HashMap<(String, String), u32>,
    makers: Vec<Maker>,
    by_maker: HashMap<(String, usize), u32>,
    /// Makers of listed calls by the global and the class, without their names.
    by_call: FxHashMap<(u32, usize), u32>,
    /// Facts by serial number, written over in turns; dtypes' for good.
    pub(super) told: Told,
}

/// Facts about single objects.
#[derive(Clone)]
pub(super) struct Told {
    cells: Vec<(u32, Facts)>,
    next_cell: u32,
    lasting: Vec<Facts>,
}

impl Told {
    /// Entries that a copy holds.
    pub(super) fn size(&self) -> u64 {
        (self.cells.len() + self.lasting.len()) as u64
    }
}

impl Globals {
    pub(super) fn new() -> Globals {
        Globals {
            all: Vec::new(),
            by_name: HashMap::new(),
            makers: Vec::new(),
            by_maker: HashMap::new(),
            by_call: FxHashMap::default(),
            told: Told { cells: Vec::new(), next_cell: 1, lasting: Vec::new() },
        }
    }

    /// The number of a global; whether it is new. `None` when there are too many.
    pub(super) fn number(
        &mut self,
        policy: &Policy,
        module: &str,
        name: &str,
        offset: u64,
    ) -> Option<(u32, bool)> {
        let key = (module.to_owned(), name.to_owned());
        if let Some(&number) = self.by_name.get(&key) {
            if let Some(global) = self.all.get_mut(number as usize) {
                global.import.times += 1;
            }
            return Some((number, false));
        }
        let number = self.all.len() as u32;
        if number >= MAX_GLOBALS {
            return None;
        }
        let rule = policy.rule(module, name);
        let import = Import {
            module: module.to_owned(),
            name: name.to_owned(),
            offset,
            times: 1,
            calls: 0,
            states: 0,
            listed: !matches!(rule, Rule::Unlisted),
        };
        let danger = danger::known(module, name);
        self.all.push(Global { import, rule, danger });
        self.by_name.insert(key, number);
        Some((number, true))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// What [`Globals::roll_back`] returns to.
    pub(super) fn checkpoint(&self) -> Vec<[u64; 3]> {
        let counts =
            |global: &Global| [global.import.times, global.import.calls, global.import.states];
        self.all.iter().map(counts).collect()
    }

    /// Forgets the globals that were met since, and counts again from there.
    pub(super) fn roll_back(&mut self, checkpoint: &[[u64; 3]]) {
        self.all.truncate(checkpoint.len());
        let is_known = |number: u32| (number as usize) < checkpoint.len();
        self.by_name.retain(|_, number| is_known(*number));
        // The numbers will be given to others.
        self.by_call.retain(|(global, _), _| is_known(*global));
        let makers = &self.makers;
        self.by_maker.retain(|_, number| {
            let maker = makers.get(*number as usize);
            maker.is_some_and(|maker| maker.global.is_none_or(is_known))
        });
        for (global, [times, calls, states]) in self.all.iter_mut().zip(checkpoint) {
            global.import.times = *times;
            global.import.calls = *calls;
            global.import.states = *states;
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Global> {
        self.all.get(number as usize)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Global> {
        self.all.get_mut(number as usize)
    }

    pub(super) fn into_imports(self) -> Vec<Import> {
        self.all.into_iter().map(|global| global.import).collect()
    }

    /// The number of the maker of such a call, if one was made before.
    #[inline]
    pub(super) fn known_maker(&self, global: u32, class: Rule) -> Option<u32> {
        self.by_call.get(&(global, class_word(class))).copied()
    }

    /// Remembers the maker of such a call.
    pub(super) fn know_maker(&mut self, global: u32, class: Rule, maker: u32) {
        self.by_call.insert((global, class_word(class)), maker);
    }

    /// The number of a maker.
    pub(super) fn maker(&mut self, maker: Maker) -> Option<u32> {
        let key = (maker.name.clone(), class_word(maker.class));
        if let Some(&number) = self.by_maker.get(&key) {
            return Some(number);
        }
        let number = self.makers.len() as u32;
        if number >= MAX_GLOBALS {
            return None;
        }
        self.by_maker.insert(key, number);
        self.makers.push(maker);
        Some(number)
    }

    pub(super) fn made_by(&self, number: u32) -> Option<&Maker> {
        self.makers.get(number as usize)
    }

    /// A word that leads to facts about one object.
    pub(super) fn keep(&mut self, facts: Facts) -> u32 {
        match facts {
            Facts::None => 0,
            Facts::Dtype(_) if self.told.lasting.len() < LASTING => {
                self.told.lasting.push(facts);
                LASTING_BIT | (self.told.lasting.len() - 1) as u32
            }
            _ => {
                let serial = self.told.next_cell;
                self.told.next_cell = (serial + 1) % LASTING_BIT;
                if self.told.next_cell == 0 {
                    self.told.next_cell = 1;
                }
                let place = serial as usize & (CELLS - 1);
                if self.told.cells.len() <= place {
                    self.told.cells.resize(place + 1, (0, Facts::None));
                }
                if let Some(cell) = self.told.cells.get_mut(place) {
                    *cell = (serial, facts);
                }
                serial
            }
        }
    }

    /// The facts that such a word leads to.
    pub(super) fn facts(&self, word: u32) -> Facts {
        if word & LASTING_BIT != 0 {
            return self
                .told
                .lasting
                .get((word & !LASTING_BIT) as usize)
                .copied()
                .unwrap_or_default();
        }
        let cell = self.told.cells.get(word as usize & (CELLS - 1));
        cell.filter(|(serial, _)| *serial == word).map_or(Facts::None, |(_, facts)| *facts)
    }

    /// Changes what such a word leads to, for all who hold it.
    pub(super) fn set_facts(&mut self, word: u32, facts: Facts) {
        if word & LASTING_BIT != 0 {
            if let Some(place) = self.told.lasting.get_mut((word & !LASTING_BIT) as usize) {
                *place = facts;
            }
            return;
        }
        if let Some(cell) = self.told.cells.get_mut(word as usize & (CELLS - 1))
            && cell.0 == word
        {
            cell.1 = facts;
        }
    }
}
