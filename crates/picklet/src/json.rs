//! Values as JSON, for tools that know no Python.
//!
//! What JSON has no word for:
//!
//! | Python | JSON |
//! |---|---|
//! | tuple, set, frozenset | an array |
//! | NaN, infinities | `null` |
//! | an int of any size | a number with all its digits |
//! | a str with lone surrogates | a string with `\ud83d` escapes |
//! | bytes, bytearray, Python 2 str | `{"$bytes": "<base64>"}` |
//! | a dict whose keys are str, int, bool, None or float | an object; keys as `json.dumps` spells them |
//! | any other dict | `{"$pairs": [[key, value], …]}` |
//! | a class or function | `{"$global": "module.name"}` |
//! | an instance | `{"$call": "module.name", "args": […], "then": […]}`, with `"kwargs"` where it has any; `"then"` lists what is done to it, in order: `{"state": …}`, `{"append": …}`, `{"extend": […]}`, `{"add": […]}`, `{"set_items": [key, value, …]}`, `{"state_setter": …}`; left out where nothing is |
//! | persistent ids, extension codes, buffers | `{"$persistent_id": …}`, `{"$extension": 1}`, `{"$buffer": 0}` |
//!
//! An object inside itself is an error. One met several times is written several times, within
//! the caller's cap.

use picklet_codec::{Error, PickleStr, Result, pyrepr};
use rustc_hash::FxHashSet;

use crate::graph::{Effect, Id};
use crate::value::{Instance, Items, Kind, Pairs, ValueRef};

/// The JSON of `value` on one line, at most about `max_bytes` bytes of it.
///
/// # Errors
/// An object inside itself, an int past 4300 digits, and more than `max_bytes`.
pub fn to_json(value: ValueRef<'_>, max_bytes: usize) -> Result<String> {
    let mut writer =
        Writer { out: String::new(), open: FxHashSet::default(), tasks: vec![Task::Show(value)] };
    while let Some(task) = writer.tasks.pop() {
        if writer.out.len() > max_bytes {
            return Err(Error::custom(format!(
                "the JSON is longer than {max_bytes} bytes; raise the cap or print less of it"
            )));
        }
        writer.run(task)?;
    }
    Ok(writer.out)
}

enum Task<'g> {
    Show(ValueRef<'g>),
    Text(&'static str),
    Row(Items<'g>, bool),
    Members(Pairs<'g>, bool),
    PairRow(Pairs<'g>, bool),
    Effects(ValueRef<'g>, &'g [Effect], bool),
    /// A row of ids of the value's arena.
    Ids(ValueRef<'g>, &'g [Id], usize),
    Close(Id),
}

struct Writer<'g> {
    out: String,
    /// A set, and not a flag for each object: see the printer of `repr`.
    open: FxHashSet<u32>,
    tasks: Vec<Task<'g>>,
}

impl<'g> Writer<'g> {
    fn comma(&mut self, first: bool) {
        if !first {
            self.out.push_str(", ");
        }
    }

    fn run(&mut self, task: Task<'g>) -> Result<()> {
        match task {
            Task::Show(value) => return self.show(value),
            Task::Text(text) => self.out.push_str(text),
            Task::Close(id) => {
                self.open.remove(&id.0);
            }
            Task::Row(mut items, first) => {
                if let Some(item) = items.next() {
                    self.comma(first);
                    self.tasks.push(Task::Row(items, false));
                    self.tasks.push(Task::Show(item));
                }
            }
            Task::Members(mut pairs, first) => {
                if let Some((key, value)) = pairs.next() {
                    self.comma(first);
                    push_key(&mut self.out, key);
                    self.out.push_str(": ");
                    self.tasks.push(Task::Members(pairs, false));
                    self.tasks.push(Task::Show(value));
                }
            }
            Task::PairRow(mut pairs, first) => {
                if let Some((key, value)) = pairs.next() {
                    self.comma(first);
                    self.out.push('[');
                    self.tasks.push(Task::PairRow(pairs, false));
                    self.tasks.push(Task::Text("]"));
                    self.tasks.push(Task::Show(value));
                    self.tasks.push(Task::Text(", "));
                    self.tasks.push(Task::Show(key));
                }
            }
            Task::Ids(value, ids, next) => {
                if let Some(id) = ids.get(next) {
                    self.comma(next == 0);
                    self.tasks.push(Task::Ids(value, ids, next + 1));
                    self.tasks.push(Task::Show(value.to(*id)));
                }
            }
            Task::Effects(value, effects, first) => self.effects(value, effects, first),
        }
        Ok(())
    }

    fn container(
        &mut self,
        value: ValueRef<'g>,
        start: &'static str,
        inner: Task<'g>,
        end: &'static str,
    ) -> Result<()> {
        if !self.open.insert(value.id.0) {
            return Err(Error::custom(format!(
                "JSON cannot hold a {} that contains itself",
                value.type_name()
            )));
        }
        self.out.push_str(start);
        self.tasks.push(Task::Close(value.id));
        self.tasks.push(Task::Text(end));
        self.tasks.push(inner);
        Ok(())
    }

    fn show(&mut self, value: ValueRef<'g>) -> Result<()> {
        match value.kind() {
            Kind::None => self.out.push_str("null"),
            Kind::Bool(value) => self.out.push_str(if value { "true" } else { "false" }),
            Kind::Int(value) => self.out.push_str(&value.to_string()),
            Kind::BigInt(bytes) => {
                // 4300 digits take 1786 bytes.
                if bytes.len() > 1786 {
                    return Err(Error::custom("an int has more than 4300 digits"));
                }
                self.out.push_str(&picklet_codec::text::le_bytes_to_decimal(bytes));
            }
            Kind::Float(value) if value.is_finite() => pyrepr::push_float(&mut self.out, value),
            Kind::Float(_) => self.out.push_str("null"),
            Kind::Str(text) => push_string(&mut self.out, text),
            Kind::Bytes(bytes) | Kind::ByteArray(bytes) | Kind::Py2Str(bytes) => {
                self.out.push_str("{\"$bytes\": \"");
                push_base64(&mut self.out, bytes);
                self.out.push_str("\"}");
            }
            Kind::Tuple(items) | Kind::List(items) | Kind::Set(items) | Kind::FrozenSet(items) => {
                return self.container(value, "[", Task::Row(items, true), "]");
            }
            Kind::Dict(mut pairs) => {
                let all = pairs;
                return if pairs.all(|(key, _)| is_plain_key(key)) {
                    self.container(value, "{", Task::Members(all, true), "}")
                } else {
                    self.container(value, "{\"$pairs\": [", Task::PairRow(all, true), "]}")
                };
            }
            Kind::Global { module, name } => {
                self.out.push_str("{\"$global\": ");
                push_string(&mut self.out, format!("{module}.{name}").as_str().into());
                self.out.push('}');
            }
            Kind::Extension(code) => self.out.push_str(&format!("{{\"$extension\": {code}}}")),
            Kind::PersistentId(text) => {
                self.out.push_str("{\"$persistent_id\": ");
                push_string(&mut self.out, text.into());
                self.out.push('}');
            }
            Kind::BinaryPersistentId(pid) => {
                return self.container(value, "{\"$persistent_id\": ", Task::Show(pid), "}");
            }
            Kind::Buffer(index) => self.out.push_str(&format!("{{\"$buffer\": {index}}}")),
            Kind::ReadonlyBuffer(buffer) => self.tasks.push(Task::Show(buffer)),
            Kind::Instance(instance) => return self.instance(value, instance),
        }
        Ok(())
    }

    fn instance(&mut self, value: ValueRef<'g>, instance: Instance<'g>) -> Result<()> {
        self.container(value, "{\"$call\": ", Task::Effects(value, instance.effects(), true), "}")?;
        if let Some(kwargs) = instance.kwargs() {
            self.tasks.push(Task::Show(kwargs));
            self.tasks.push(Task::Text(", \"kwargs\": "));
        }
        self.tasks.push(Task::Text("]"));
        if let Some(args) = instance.args() {
            self.tasks.push(Task::Row(args, true));
        }
        self.tasks.push(Task::Text(", \"args\": ["));
        match (instance.callable_name(), instance.callable()) {
            (Some(name), _) => push_string(&mut self.out, name.as_str().into()),
            (None, Some(callable)) => self.tasks.push(Task::Show(callable)),
            (None, None) => self.out.push_str("null"),
        }
        Ok(())
    }

    /// `"then"`: states, the items of list and dict subclasses, state-setters.
    fn effects(&mut self, value: ValueRef<'g>, effects: &'g [Effect], first: bool) {
        let Some((effect, rest)) = effects.split_first() else {
            if !first {
                self.out.push(']');
            }
            return;
        };
        self.out.push_str(if first { ", \"then\": [" } else { ", " });
        self.tasks.push(Task::Effects(value, rest, false));
        let (start, inner, end) = match effect {
            Effect::Build(state) => ("{\"state\": ", Task::Show(value.to(*state)), "}"),
            Effect::Append(item) => ("{\"append\": ", Task::Show(value.to(*item)), "}"),
            Effect::Appends(ids) => ("{\"extend\": [", Task::Ids(value, ids, 0), "]}"),
            Effect::AddItems(ids) => ("{\"add\": [", Task::Ids(value, ids, 0), "]}"),
            // Keys and values in turn.
            Effect::SetItems(ids) => ("{\"set_items\": [", Task::Ids(value, ids, 0), "]}"),
            Effect::SetItem(key, item) => {
                self.out.push_str("{\"set_items\": [");
                self.tasks.push(Task::Text("]}"));
                self.tasks.push(Task::Show(value.to(*item)));
                self.tasks.push(Task::Text(", "));
                self.tasks.push(Task::Show(value.to(*key)));
                return;
            }
            // Its arguments hold the object itself.
            Effect::Call { callable, .. } => {
                ("{\"state_setter\": ", Task::Show(value.to(*callable)), "}")
            }
        };
        self.out.push_str(start);
        self.tasks.push(Task::Text(end));
        self.tasks.push(inner);
    }
}

fn is_plain_key(key: ValueRef<'_>) -> bool {
    matches!(key.kind(), Kind::Str(_) | Kind::Int(_) | Kind::Bool(_) | Kind::None | Kind::Float(_))
}

/// A dict key as `json.dumps` spells it.
fn push_key(out: &mut String, key: ValueRef<'_>) {
    if let Kind::Str(text) = key.kind() {
        return push_string(out, text);
    }
    out.push('"');
    match key.kind() {
        Kind::Int(value) => out.push_str(&value.to_string()),
        Kind::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Kind::Float(value) if value.is_nan() => out.push_str("NaN"),
        Kind::Float(value) if value.is_infinite() => {
            out.push_str(if value < 0.0 { "-Infinity" } else { "Infinity" });
        }
        Kind::Float(value) => pyrepr::push_float(out, value),
        _ => out.push_str("null"),
    }
    out.push('"');
}

fn push_string(out: &mut String, text: PickleStr<'_>) {
    out.push('"');
    for point in text.code_points() {
        match char::from_u32(point) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(shown) if point >= 0x20 => out.push(shown),
            _ => out.push_str(&format!("\\u{point:04x}")),
        }
    }
    out.push('"');
}

fn push_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let mut padded = [0u8; 3];
        for (to, from) in padded.iter_mut().zip(group) {
            *to = *from;
        }
        let word = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            let digit = DIGITS.get((word >> (18 - 6 * place)) as usize & 63);
            match digit {
                Some(digit) if place <= group.len() => out.push(char::from(*digit)),
                _ => out.push('='),
            }
        }
    }
}
