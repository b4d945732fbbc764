//! Python's `repr` of a value, for people.
//!
//! Built-in objects print as a Python prompt prints them, a list or dict inside itself as
//! `[...]` or `{...}`. Instances print as the call that makes them, `datetime.date(b'…')`, with
//! what is done to them afterwards as further calls: `m.Point().__setstate__({'x': 1})`. Ints
//! past 4300 digits, which Python refuses to print, print in hexadecimal. Objects met several
//! times are printed several times, so every print has a cap in bytes and ends in `…` there.

use num_bigint::BigInt;
use picklet_codec::pyrepr;
use rustc_hash::FxHashSet;

use crate::graph::{Call, Effect, Id, Node};
use crate::value::ValueRef;

/// The cap that `Display` uses: 16 MiB.
pub const DISPLAY_BYTES: usize = 16 << 20;

/// The `repr` of `value`; what is longer than `max_bytes` bytes is cut there and ends in `…`.
pub fn repr(value: ValueRef<'_>, max_bytes: usize) -> String {
    let mut printer = Printer {
        value,
        out: String::new(),
        max_bytes,
        open: FxHashSet::default(),
        tasks: vec![Task::Show(value.id)],
    };
    while printer.out.len() <= max_bytes
        && let Some(task) = printer.tasks.pop()
    {
        printer.run(task);
    }
    let mut out = printer.out;
    if out.len() > max_bytes {
        let mut end = max_bytes;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

enum Task<'g> {
    Show(Id),
    Text(&'static str),
    /// The rest of a comma-separated row, from this place on.
    Row(&'g [Id], usize),
    PairRow(&'g [(Id, Id)], usize),
    /// Keys and values in turn.
    FlatPairs(&'g [Id], usize),
    Effects(&'g [Effect], usize),
    Close(Id),
}

struct Printer<'g> {
    value: ValueRef<'g>,
    out: String,
    /// Nothing needs to be printed past this length.
    max_bytes: usize,
    /// Which containers are being printed further out. A set, and not a flag for each object, so that
    /// printing the items of a large value one by one costs no more than printing them at once.
    open: FxHashSet<u32>,
    tasks: Vec<Task<'g>>,
}

impl<'g> Printer<'g> {
    fn set_open(&mut self, id: Id, open: bool) {
        if open {
            self.open.insert(id.0);
        } else {
            self.open.remove(&id.0);
        }
    }

    fn run(&mut self, task: Task<'g>) {
        match task {
            Task::Show(id) => self.show(id),
            Task::Text(text) => self.out.push_str(text),
            Task::Close(id) => self.set_open(id, false),
            Task::Row(ids, next) => {
                if let Some(id) = ids.get(next) {
                    if next > 0 {
                        self.out.push_str(", ");
                    }
                    self.tasks.push(Task::Row(ids, next + 1));
                    self.tasks.push(Task::Show(*id));
                }
            }
            Task::PairRow(pairs, next) => {
                if let Some((key, value)) = pairs.get(next) {
                    if next > 0 {
                        self.out.push_str(", ");
                    }
                    self.tasks.push(Task::PairRow(pairs, next + 1));
                    self.pair(*key, *value);
                }
            }
            Task::FlatPairs(ids, next) => {
                if let Some([key, value]) = ids.get(next..next + 2) {
                    if next > 0 {
                        self.out.push_str(", ");
                    }
                    self.tasks.push(Task::FlatPairs(ids, next + 2));
                    self.pair(*key, *value);
                }
            }
            Task::Effects(effects, next) => self.effect(effects, next),
        }
    }

    fn pair(&mut self, key: Id, value: Id) {
        self.tasks.push(Task::Show(value));
        self.tasks.push(Task::Text(": "));
        self.tasks.push(Task::Show(key));
    }

    /// Prints what stands between `start` and `end`; a container inside itself as `again`.
    fn container(
        &mut self,
        id: Id,
        start: &'static str,
        inner: Task<'g>,
        end: &'static str,
        again: &'static str,
    ) {
        if self.open.contains(&id.0) {
            self.out.push_str(again);
            return;
        }
        self.set_open(id, true);
        self.out.push_str(start);
        self.tasks.push(Task::Close(id));
        self.tasks.push(Task::Text(end));
        self.tasks.push(inner);
    }

    fn show(&mut self, id: Id) {
        let graph = self.value.graph;
        match graph.node(id) {
            Node::None => self.out.push_str("None"),
            Node::Bool(value) => self.out.push_str(if *value { "True" } else { "False" }),
            Node::Int(value) => self.out.push_str(&value.to_string()),
            Node::BigInt(bytes) => push_big_int(&mut self.out, bytes, self.max_bytes),
            Node::Float(value) => pyrepr::push_float(&mut self.out, *value),
            Node::Str(text) => {
                pyrepr::push_str_up_to(&mut self.out, text.as_pickle_str(), self.max_bytes);
            }
            Node::Bytes(bytes) | Node::Py2Str(bytes) => {
                pyrepr::push_bytes_up_to(&mut self.out, bytes, self.max_bytes);
            }
            Node::ByteArray(bytes) => {
                pyrepr::push_bytearray_up_to(&mut self.out, bytes, self.max_bytes);
            }
            Node::Tuple(ids) => {
                let end = if ids.len() == 1 { ",)" } else { ")" };
                self.container(id, "(", Task::Row(ids, 0), end, "(...)");
            }
            Node::List(ids) => self.container(id, "[", Task::Row(ids, 0), "]", "[...]"),
            Node::Dict(pairs) => self.container(id, "{", Task::PairRow(pairs, 0), "}", "{...}"),
            Node::Set(ids) if ids.is_empty() => self.out.push_str("set()"),
            Node::Set(ids) => self.container(id, "{", Task::Row(ids, 0), "}", "set(...)"),
            Node::FrozenSet(ids) if ids.is_empty() => self.out.push_str("frozenset()"),
            Node::FrozenSet(ids) => {
                self.container(id, "frozenset({", Task::Row(ids, 0), "})", "frozenset(...)");
            }
            _ => self.object(id),
        }
    }

    fn object(&mut self, id: Id) {
        let graph = self.value.graph;
        match graph.node(id) {
            Node::Global(global) => {
                self.out.push_str(&global.0);
                self.out.push('.');
                self.out.push_str(&global.1);
            }
            Node::StackGlobal(module, name) => {
                for (place, part) in [module, name].into_iter().enumerate() {
                    if place > 0 {
                        self.out.push('.');
                    }
                    if let Some(text) = graph.name_text(*part) {
                        self.out.push_str(&text.to_str_lossy());
                    }
                }
            }
            Node::Extension(code) => self.out.push_str(&format!("extension({code})")),
            Node::PersistentId(text) => {
                self.out.push_str("persistent_id(");
                pyrepr::push_str_up_to(&mut self.out, (&**text).into(), self.max_bytes);
                self.out.push(')');
            }
            Node::BinaryPersistentId(pid) => {
                self.out.push_str("persistent_id(");
                self.tasks.push(Task::Text(")"));
                self.tasks.push(Task::Show(*pid));
            }
            Node::Buffer(index) => self.out.push_str(&format!("buffer({index})")),
            Node::ReadonlyBuffer(buffer) => {
                self.tasks.push(Task::Text(".toreadonly()"));
                self.tasks.push(Task::Show(*buffer));
            }
            Node::Instance(instance) => {
                if self.open.contains(&id.0) {
                    self.out.push_str("<...>");
                    return;
                }
                self.set_open(id, true);
                self.tasks.push(Task::Close(id));
                self.tasks.push(Task::Effects(&instance.effects, 0));
                self.call(&instance.call);
            }
            _ => {}
        }
    }

    fn call(&mut self, call: &'g Call) {
        let graph = self.value.graph;
        self.tasks.push(Task::Text(")"));
        let (class, args) = match call {
            Call::Reduce { callable: class, args } | Call::NewObj { class, args } => {
                (*class, *args)
            }
            Call::NewObjEx { class, args, kwargs } => {
                self.tasks.push(Task::Show(*kwargs));
                self.tasks.push(Task::Text(", **"));
                (*class, *args)
            }
            Call::Inst { module, name, args } => {
                self.out.push_str(&format!("{module}.{name}("));
                self.tasks.push(Task::Row(args, 0));
                return;
            }
            Call::Obj { class, args } => {
                self.tasks.push(Task::Row(args, 0));
                self.tasks.push(Task::Text("("));
                self.tasks.push(Task::Show(*class));
                return;
            }
        };
        match graph.node(args) {
            Node::Tuple(ids) => self.tasks.push(Task::Row(ids, 0)),
            _ => {
                self.tasks.push(Task::Show(args));
                self.tasks.push(Task::Text("*"));
            }
        }
        self.tasks.push(Task::Text("("));
        self.tasks.push(Task::Show(class));
    }

    fn effect(&mut self, effects: &'g [Effect], next: usize) {
        let Some(effect) = effects.get(next) else { return };
        self.tasks.push(Task::Effects(effects, next + 1));
        let (start, inner, end) = match effect {
            // C calls `extend` for a single item too, wherever there is one.
            Effect::Append(id) => (".extend([", Task::Show(*id), "])"),
            Effect::Appends(ids) => (".extend([", Task::Row(ids, 0), "])"),
            Effect::AddItems(ids) => (".update({", Task::Row(ids, 0), "})"),
            Effect::SetItems(ids) => (".update({", Task::FlatPairs(ids, 0), "})"),
            Effect::Build(state) => (".__setstate__(", Task::Show(*state), ")"),
            Effect::SetItem(key, value) => {
                self.tasks.push(Task::Text("})"));
                self.pair(*key, *value);
                self.out.push_str(".update({");
                return;
            }
            // The object itself is the first argument.
            Effect::Call { callable, .. } => (".__setstate__(", Task::Show(*callable), ")"),
        };
        self.out.push_str(start);
        self.tasks.push(Task::Text(end));
        self.tasks.push(inner);
    }
}

/// Decimal up to 4300 digits, hexadecimal past them. A number of megabytes is cut to the digits
/// that fit `max_bytes`, and one more, before they are made.
fn push_big_int(out: &mut String, bytes: &[u8], max_bytes: usize) {
    let value = BigInt::from_signed_bytes_le(bytes);
    // 4300 digits take 14,285 bits.
    let decimal = (value.bits() <= 14_290).then(|| value.to_string());
    match decimal.filter(|text| text.trim_start_matches('-').len() <= pyrepr::MAX_INT_DIGITS) {
        Some(text) => out.push_str(&text),
        None => {
            let digits = value.bits().div_ceil(4);
            let shown = max_bytes.saturating_sub(out.len()).saturating_add(1) as u64;
            let value = BigInt::from_biguint(
                value.sign(),
                value.magnitude() >> (4 * digits.saturating_sub(shown)),
            );
            out.push_str(&format!("{value:#x}"));
        }
    }
}
