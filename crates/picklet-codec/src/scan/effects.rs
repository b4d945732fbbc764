//! The opcodes that import, call, ask the application or change an object, judged by the policy.

use super::finding::{Rule, Severity};
use super::globals::Maker;
use super::sym::{Sort, Sym};
use super::tracer::{Tracer, index_of, tuple_of};
use super::view::{is_invisible, printable};
use crate::arg::Arg;
use crate::compat;
use crate::error::ErrorKind;
use crate::opcode::Opcode;
use crate::policy::{self, Grows, Policy, Step, Verdict};

/// What no module's name has, and most lines of text have.
const IN_NO_NAME: [char; 18] =
    [' ', '\t', '(', ')', '[', ']', '{', '}', '<', '>', '=', ':', ';', ',', '"', '\'', '#', '/'];

/// How deep in a state or in arguments forgotten entries are looked for.
const MISSED_DEPTH: usize = 3;

/// A callable as a report names it.
struct Named {
    name: String,
    danger: Option<&'static str>,
    global: Option<u32>,
}

impl Tracer<'_> {
    /// Runs one of these opcodes; `self.offset` and `self.opcode` are its own.
    #[inline(never)]
    pub(super) fn effect(&mut self, opcode: Opcode, arg: Arg<'_>) -> Result<(), ErrorKind> {
        let result = match (opcode, arg) {
            (Opcode::Global, Arg::Global(global)) => {
                let (module, name) = global.split();
                self.import(module, name)
            }
            (Opcode::StackGlobal, _) => {
                let name = self.take()?;
                let module = self.take()?;
                if self.confused && !(may_be_text(module) && may_be_text(name)) {
                    return Err(confusion("a name that is no str"));
                }
                self.stack_global(module, name)
            }
            (Opcode::Inst, Arg::Global(global)) => {
                let items = self.take_to_mark()?;
                let (module, name) = global.split();
                let class = self.import(module, name);
                let args = tuple_of(&mut self.known, &items);
                self.call(class, args)
            }
            (Opcode::Obj, _) => {
                let items = self.take_to_mark()?;
                let Some((class, items)) = items.split_first() else {
                    return Err(ErrorKind::StackUnderflow { at_mark: true });
                };
                let args = tuple_of(&mut self.known, items);
                self.call(*class, args)
            }
            (Opcode::Reduce, _) => {
                let args = self.take()?;
                let callable = self.take()?;
                if self.confused && is_plain(callable) {
                    return Err(confusion("a call of plain data"));
                }
                self.call(callable, args)
            }
            (Opcode::NewObj, _) => {
                let args = self.take()?;
                let class = self.take()?;
                if self.confused && is_plain(class) {
                    return Err(confusion("a class that is plain data"));
                }
                self.new_object(class, args, None)
            }
            (Opcode::NewObjEx, _) => {
                let keywords = self.take()?;
                let args = self.take()?;
                let class = self.take()?;
                self.new_object(class, args, Some(keywords))
            }
            (Opcode::Build, _) => {
                let state = self.take()?;
                let Some(target) = self.top_mut().copied() else {
                    return Err(ErrorKind::StackUnderflow { at_mark: true });
                };
                if self.confused && is_plain(target) {
                    return Err(confusion("a state for plain data"));
                }
                self.build(target, state);
                return Ok(());
            }
            (Opcode::PersId, Arg::Line(id)) => {
                self.persistent_id(format!("{:?}", printable(id)));
                Sym::new(Sort::Persistent, self.offset)
            }
            (Opcode::BinPersId, _) => {
                let id = self.take()?;
                self.persistent_id(self.known.shown(id));
                Sym::new(Sort::Persistent, self.offset)
            }
            (Opcode::NextBuffer, _) => Sym::new(Sort::Buffer, self.offset),
            (Opcode::ReadonlyBuffer, _) => self.take()?,
            (_, arg) => self.extension(index_of(arg)),
        };
        self.push(result)
    }

    /// STACK_GLOBAL with what stood on the stack.
    fn stack_global(&mut self, module: Sym, name: Sym) -> Sym {
        if let (Some(module), Some(name)) = (self.known.text(module), self.known.text(name)) {
            return self.import(&module, &name);
        }
        self.missed();
        self.effects += 1;
        let text = |sym: Sym, known: &super::view::Known<'_>| known.shown(sym);
        let shown = format!("{}.{}", text(module, &self.known), text(name, &self.known));
        self.add_here(
            Rule::ComputedName,
            Severity::Dangerous,
            Some(shown),
            None,
            "it imports something whose name is not written in the pickle as text: what it is \
             can only be known by running the pickle"
                .into(),
        );
        Sym::UNKNOWN
    }

    /// If a memo entry was asked for that had been forgotten, the pickle is to be scanned again.
    fn missed(&mut self) {
        if let Some(index) = self.known.asked.take() {
            self.memo.want(index);
        }
    }

    /// As [`missed`](Self::missed), and then for all that `sym` holds: the next entry of a long list
    /// would be asked for only once this one is known.
    fn missed_in(&mut self, sym: Sym) {
        if self.known.asked.get().is_some() {
            self.want_all(sym, MISSED_DEPTH);
        }
        self.missed();
    }

    fn want_all(&mut self, sym: Sym, depth: usize) {
        if sym.is(Sort::Forgotten) {
            return self.memo.want(sym.payload());
        }
        let items = match sym.sort() {
            Sort::Tuple | Sort::ObjectTuple => self.known.tuple_items(sym),
            Sort::List | Sort::Dict => self.known.contents.items(&self.known.ring, sym),
            _ => None,
        };
        if depth > 0 {
            for item in items.unwrap_or_default() {
                self.want_all(item, depth - 1);
            }
        }
    }

    /// GLOBAL and its kin.
    fn import(&mut self, module: &str, name: &str) -> Sym {
        self.effects += 1;
        self.sentences += u64::from(module.contains(IN_NO_NAME));
        let (mapped_module, mapped_name) =
            if self.protocol < 3 { compat::to_python3(module, name) } else { (module, name) };
        // Every honest array of objects names numpy's dtype, and finds another module's name where
        // numpy's should be. There is no such thing, or it is the same one.
        let (mapped_module, mapped_name) = match mapped_name {
            "dtype" if self.confused && self.is_unknown(mapped_module, mapped_name) => {
                ("numpy", "dtype")
            }
            _ => (mapped_module, mapped_name),
        };
        let numbered =
            self.known.globals.number(self.policy, mapped_module, mapped_name, self.offset);
        let Some((number, new)) = numbered else {
            self.add_here(
                Rule::Bomb,
                Severity::Suspicious,
                None,
                None,
                "it names more different globals than anything honest does".into(),
            );
            return Sym::UNKNOWN;
        };
        if new {
            // Python 2, and a Python 3 that is told not to map names, import what is written.
            let danger = super::danger::known(module, name);
            if let Some(global) = self.known.globals.get_mut(number) {
                global.danger = global.danger.or(danger);
            }
            self.report_import(number, module, name);
        }
        Sym::new(Sort::Global, u64::from(number))
    }

    fn is_unknown(&self, module: &str, name: &str) -> bool {
        matches!(self.policy.rule(module, name), policy::Rule::Unlisted)
            && super::danger::known(module, name).is_none()
    }

    fn report_import(&mut self, number: u32, module: &str, name: &str) {
        let Some(global) = self.known.globals.get(number) else { return };
        let dotted = global.import.dotted();
        let shown = printable(&dotted);
        let (listed, danger) = (global.import.listed, global.danger);
        if let Some(odd) = odd_letters(&dotted) {
            self.add_here(
                Rule::LookalikeName,
                Severity::Dangerous,
                Some(shown.clone()),
                None,
                format!(
                    "the name of {} has {odd} in it, which makes it look like another name",
                    dotted
                        .escape_unicode()
                        .collect::<String>()
                        .chars()
                        .take(200)
                        .collect::<String>()
                ),
            );
        }
        if listed {
            return;
        }
        let written = format!("{module}.{name}");
        let written = if written == dotted {
            String::new()
        } else {
            format!(" (written {}, its name in Python 2)", printable(&written))
        };
        match danger {
            Some(why) => self.add_here(
                Rule::DangerousImport,
                Severity::Dangerous,
                Some(shown.clone()),
                None,
                format!("it imports {shown}{written}, which {why}; data has no use for that"),
            ),
            None => self.add_here(
                Rule::UnlistedImport,
                Severity::Suspicious,
                Some(shown.clone()),
                None,
                format!(
                    "it imports {shown}{written}, which the policy does not list: importing a \
                     module runs that module's code"
                ),
            ),
        }
    }

    fn named(&self, sym: Sym) -> Named {
        match sym.sort() {
            Sort::Global => {
                let number = sym.global();
                let global = number.and_then(|number| self.known.globals.get(number));
                Named {
                    name: global.map_or_else(|| "…".into(), |g| printable(&g.import.dotted())),
                    danger: global.and_then(|global| global.danger),
                    global: number,
                }
            }
            Sort::Made => {
                let maker = sym.maker().and_then(|number| self.known.globals.made_by(number));
                Named {
                    name: self.known.shown(sym),
                    danger: maker.and_then(|maker| maker.danger),
                    global: None,
                }
            }
            _ => Named { name: self.known.shown(sym), danger: None, global: None },
        }
    }

    fn count_call(&mut self, global: Option<u32>) {
        self.effects += 1;
        if let Some(global) = global.and_then(|number| self.known.globals.get_mut(number)) {
            global.import.calls += 1;
        }
    }

    /// REDUCE, INST, OBJ.
    fn call(&mut self, callable: Sym, args: Sym) -> Sym {
        let verdict = {
            let (callable, args) = (self.known.view(callable), self.known.view(args));
            Policy::judge(Step::Call { callable: &callable, args: &args })
        };
        self.missed_in(args);
        self.count_call(callable.global());
        if let Verdict::Admitted(admitted) = verdict {
            return self.made(callable, &admitted, args);
        }
        let items = self.known.tuple_items(args).unwrap_or_default();
        let named = self.named(callable);
        let shown = if args.items().is_some() && (items.is_empty() == args.is(Sort::EmptyTuple)) {
            self.known.shown_arguments(&items)
        } else {
            "(…)".into()
        };
        self.missed();
        self.report_call(callable, &named, &verdict, shown);
        self.made_freely(named, &verdict)
    }

    /// NEWOBJ, NEWOBJ_EX.
    fn new_object(&mut self, class: Sym, args: Sym, keywords: Option<Sym>) -> Sym {
        let verdict = {
            let keywords = keywords.map(|keywords| self.known.view(keywords));
            let (class, args) = (self.known.view(class), self.known.view(args));
            Policy::judge(Step::New { class: &class, args: &args, keywords: keywords.as_ref() })
        };
        self.missed_in(args);
        self.count_call(class.global());
        if let Verdict::Admitted(admitted) = verdict {
            return self.made(class, &admitted, args);
        }
        let named = self.named(class);
        let items = self.known.tuple_items(args).unwrap_or_default();
        let mut shown = if args.items().is_some() {
            self.known.shown_arguments(&items)
        } else {
            "(…)".into()
        };
        if let Some(keywords) = keywords {
            shown.push_str(" and keywords ");
            shown.push_str(&self.known.shown(keywords));
        }
        self.missed();
        self.report_call(class, &named, &verdict, shown);
        self.made_freely(named, &verdict)
    }

    /// What a call that the policy lists makes.
    fn made(&mut self, callable: Sym, admitted: &policy::Admitted, args: Sym) -> Sym {
        let entry = admitted.entry;
        if (entry.module, entry.name) == ("_codecs", "encode") {
            // Bytes, as long as the text has letters.
            let items = self.known.tuple_items(args).unwrap_or_default();
            let text = items.first().filter(|text| text.is(Sort::Str));
            return text.map_or(Sym::UNKNOWN, |text| Sym::new(Sort::Bytes, text.payload()));
        }
        let global = callable.global();
        if let Some(number) =
            global.and_then(|global| self.known.globals.known_maker(global, admitted.class))
        {
            return Sym::made(number, self.known.globals.keep(admitted.facts));
        }
        let named = self.named(callable);
        let name = match admitted.class {
            policy::Rule::Listed(class) => class.dotted(),
            _ => named.name,
        };
        let maker = Maker {
            name,
            class: admitted.class,
            gives: entry.gives.filter(|_| callable.is(Sort::Global)),
            danger: None,
            global: named.global,
        };
        let Some(number) = self.known.globals.maker(maker) else { return Sym::UNKNOWN };
        if let Some(global) = global {
            self.known.globals.know_maker(global, admitted.class, number);
        }
        Sym::made(number, self.known.globals.keep(admitted.facts))
    }

    /// What a call makes of which nothing is known.
    fn made_freely(&mut self, named: Named, verdict: &Verdict) -> Sym {
        let class = match verdict {
            Verdict::Vouched => policy::Rule::Vouched,
            _ => policy::Rule::Unlisted,
        };
        let maker = Maker {
            name: named.name,
            class,
            gives: None,
            danger: named.danger,
            global: named.global,
        };
        let number = self.known.globals.maker(maker);
        number.map_or(Sym::UNKNOWN, |number| Sym::made(number, 0))
    }

    fn report_call(&mut self, callable: Sym, named: &Named, verdict: &Verdict, shown: String) {
        let name = &named.name;
        let call = format!("{name}{shown}");
        match verdict {
            Verdict::Admitted(_) | Verdict::Vouched => {}
            Verdict::Misused { why, .. } => {
                let severity =
                    if named.danger.is_some() { Severity::Dangerous } else { Severity::Suspicious };
                let what = match named.danger {
                    Some(danger) => format!("; {name} {danger}"),
                    None => String::new(),
                };
                self.add_here(
                    Rule::UnusualArguments,
                    severity,
                    Some(name.clone()),
                    Some(shown),
                    format!(
                        "it calls {name} {why}: the policy lists it for other arguments only{what}"
                    ),
                );
            }
            Verdict::Unlisted if callable.is(Sort::Global) => match named.danger {
                Some(danger) => self.add_here(
                    Rule::DangerousCall,
                    Severity::Dangerous,
                    Some(name.clone()),
                    Some(shown),
                    format!("loading it would run {call}, which {danger}"),
                ),
                None => self.add_here(
                    Rule::UnlistedCall,
                    Severity::Suspicious,
                    Some(name.clone()),
                    Some(shown),
                    format!(
                        "loading it would call {name}, which the policy does not list: what that \
                         does depends on what is installed under the name"
                    ),
                ),
            },
            Verdict::Unlisted => {
                // In torch's older format a persistent id is also how a class is written.
                let usual = callable.is(Sort::Persistent) && self.options.persistent_ids;
                let severity = if usual || callable.is(Sort::Made) && named.danger.is_none() {
                    Severity::Suspicious
                } else {
                    Severity::Dangerous
                };
                self.add_here(
                    Rule::IndirectCall,
                    severity,
                    Some(name.clone()),
                    Some(shown),
                    "it calls an object that is no imported name but something that the pickle \
                     made or was given, which hides what runs"
                        .into(),
                );
            }
        }
    }

    /// BUILD.
    fn build(&mut self, target: Sym, state: Sym) {
        self.effects += 1;
        let verdict = {
            let (target, state) = (self.known.view(target), self.known.view(state));
            Policy::judge(Step::Build { target: &target, state: &state })
        };
        self.missed_in(state);
        self.raw = match self.joblib_data(target, state) {
            Some(Ok(raw)) => Some(raw),
            Some(Err(())) => {
                self.add_here(
                    Rule::UnusualState,
                    Severity::Suspicious,
                    Some("joblib.numpy_pickle.NumpyArrayWrapper".into()),
                    Some(self.known.shown(state)),
                    "it describes an array so that it is not known how many bytes joblib would \
                     read: what follows may be data or opcodes"
                        .into(),
                );
                None
            }
            None => None,
        };
        if let Some(global) = target
            .maker()
            .and_then(|number| self.known.globals.made_by(number)?.global)
            .and_then(|number| self.known.globals.get_mut(number))
        {
            global.import.states += 1;
        }
        let shown = |tracer: &Self| Some(tracer.known.shown(state));
        match verdict {
            Verdict::Admitted(admitted) => {
                self.known.globals.set_facts(target.extra(), admitted.facts);
                return;
            }
            Verdict::Vouched => return,
            _ => {}
        }
        let named = self.named(target);
        match verdict {
            Verdict::Admitted(_) | Verdict::Vouched => {}
            _ if target.is(Sort::Global) => {
                let name = named.name;
                self.add_here(
                    Rule::ChangedImport,
                    Severity::Dangerous,
                    Some(name.clone()),
                    shown(self),
                    format!(
                        "it changes {name} itself, for everything else in the process, instead of \
                         an object made of it"
                    ),
                );
            }
            Verdict::Misused { .. } => {
                let name = named.name;
                self.add_here(
                    Rule::UnusualState,
                    Severity::Suspicious,
                    Some(name.clone()),
                    shown(self),
                    format!(
                        "it gives {name} a state that the policy does not list for it; state that \
                         does not fit can crash the interpreter"
                    ),
                );
            }
            Verdict::Unlisted => {
                let severity = match (target.sort(), named.danger) {
                    (Sort::Made, None) => Severity::Suspicious,
                    (Sort::Made, Some(_)) => Severity::Dangerous,
                    _ => Severity::Suspicious,
                };
                let name = named.name;
                self.add_here(
                    Rule::UnusualState,
                    severity,
                    Some(name.clone()),
                    shown(self),
                    format!(
                        "it gives {name} a state, which runs that object's own code: the policy \
                         does not list its class"
                    ),
                );
            }
        }
        self.missed();
    }

    /// APPEND(S), SETITEM(S), ADDITEMS on what is no list, dict or set.
    #[cold]
    #[inline(never)]
    pub(super) fn foreign_growth(&mut self, target: Sym) {
        let grows = match self.opcode {
            Opcode::SetItem | Opcode::SetItems => Grows::Pairs,
            _ => Grows::Items,
        };
        let verdict = {
            let target = self.known.view(target);
            Policy::judge(Step::Grow { target: &target, grows })
        };
        if target.is(Sort::Forgotten) {
            self.memo.want(target.payload());
        }
        self.missed();
        if matches!(verdict, Verdict::Admitted(_) | Verdict::Vouched) {
            return;
        }
        self.effects += 1;
        let named = self.named(target);
        let severity = if named.danger.is_some() || target.is(Sort::Global) {
            Severity::Dangerous
        } else {
            Severity::Suspicious
        };
        let name = named.name;
        self.add_here(
            Rule::ForeignGrowth,
            severity,
            Some(name.clone()),
            None,
            format!("it adds items to {name}, which calls methods of that object"),
        );
    }

    fn persistent_id(&mut self, shown: String) {
        self.effects += 1;
        if self.options.persistent_ids {
            return;
        }
        self.add_here(
            Rule::PersistentId,
            Severity::Suspicious,
            None,
            Some(shown),
            "it asks its reader for an object by a persistent id: what that is depends on who \
             loads it"
                .into(),
        );
    }

    fn extension(&mut self, code: u64) -> Sym {
        self.effects += 1;
        self.add_here(
            Rule::ExtensionCode,
            Severity::Suspicious,
            Some(format!("extension {code}")),
            None,
            format!(
                "it uses extension code {code}, which stands for whatever the reader has \
                 registered with copyreg"
            ),
        );
        Sym::new(Sort::Extension, code)
    }
}

/// Whether an object is known to be neither callable nor to take a state.
fn is_plain(sym: Sym) -> bool {
    !sym.is_object() && !sym.is(Sort::Buffer)
}

fn may_be_text(sym: Sym) -> bool {
    matches!(sym.sort(), Sort::Str | Sort::OldStr | Sort::Bytes | Sort::Forgotten | Sort::Unknown)
}

fn confusion(what: &str) -> ErrorKind {
    ErrorKind::Custom(what.into())
}

/// What is odd about the letters of a name, if anything.
fn odd_letters(name: &str) -> Option<&'static str> {
    if name.is_ascii() {
        return name.chars().any(char::is_control).then_some("a control character");
    }
    if name.chars().any(is_invisible) {
        return Some("an invisible character");
    }
    // Scripts whose letters look like Latin ones, within one word with those.
    let alike = |c: char| matches!(c, '\u{370}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}');
    let mixed = name
        .split(['.', '_'])
        .any(|part| part.chars().any(|c| c.is_ascii_alphabetic()) && part.chars().any(alike));
    let wide =
        name.chars().any(|c| matches!(c, '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}'));
    (mixed || wide).then_some("letters that look like others")
}
