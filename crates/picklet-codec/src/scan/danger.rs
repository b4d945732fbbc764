//! Names that are known to run code, to reach files and the network, or to lead there.
//!
//! Nothing is safe because it is missing here: what the policy does not list is reported in any
//! case. This table only makes the report say what such a name does, and say it louder.

/// What a known-dangerous global does, as the end of the sentence "it …".
pub(super) fn known(module: &str, name: &str) -> Option<&'static str> {
    if let Some((_, why)) = ANYWHERE.iter().find(|(part, _)| name.split('.').any(|p| p == *part)) {
        return Some(why);
    }
    if HARMLESS.contains(&(module, name)) {
        return None;
    }
    let listed = MODULES.iter().find(|(listed, names, _)| {
        let inside = module == *listed
            || module.strip_prefix(listed).is_some_and(|rest| rest.starts_with('.'));
        inside && (names.is_empty() || names.iter().any(|one| leads_to(name, one)))
    });
    if let Some((_, _, why)) = listed {
        return Some(why);
    }
    // `x.os.system`: a module reached through another one that imports it.
    let parts = || name.split('.');
    if parts().count() > 1 {
        let through = MODULES.iter().find(|(listed, names, _)| {
            names.is_empty() && parts().any(|part| part.trim_start_matches('_') == *listed)
        });
        return through.map(|(_, _, why)| *why);
    }
    None
}

/// Whether `name` is `listed` or an attribute of it.
fn leads_to(name: &str, listed: &str) -> bool {
    name.strip_prefix(listed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

const RUNS_COMMANDS: &str = "runs commands of the system";
const RUNS_CODE: &str = "runs Python code";
const REACHES_ATTRIBUTES: &str = "reaches any attribute of any object, and so everything";
const CALLS: &str = "calls what it is given";
const IMPORTS: &str = "imports any module";
const FILES: &str = "reads, writes or removes files";
const NETWORK: &str = "opens network connections";
const MEMORY: &str = "reads and writes memory directly";
const UNPICKLES: &str = "loads another pickle without any check";
const CODE_OBJECTS: &str = "makes functions out of bytes";
const INTERPRETER: &str = "changes the running interpreter";

/// Attributes that lead out of any object.
static ANYWHERE: &[(&str, &str)] = &[
    ("__globals__", REACHES_ATTRIBUTES),
    ("__builtins__", REACHES_ATTRIBUTES),
    ("__subclasses__", REACHES_ATTRIBUTES),
    ("__getattribute__", REACHES_ATTRIBUTES),
    ("__import__", IMPORTS),
    ("__code__", CODE_OBJECTS),
    ("__loader__", IMPORTS),
    ("__reduce_ex__", CALLS),
];

/// What is defined in such a module and does nothing.
static HARMLESS: &[(&str, &str)] = &[
    ("http", "HTTPStatus"),
    ("http", "HTTPMethod"),
    ("os", "stat_result"),
    ("os", "terminal_size"),
    ("os", "times_result"),
    ("os", "uname_result"),
];

/// Modules with the names in them that are meant; no names: all of them.
#[rustfmt::skip]
static MODULES: &[(&str, &[&str], &str)] = &[
    ("os", &["path"], "leads to the file system"),
    ("os", &[], RUNS_COMMANDS),
    ("posix", &[], RUNS_COMMANDS),
    ("nt", &[], RUNS_COMMANDS),
    ("subprocess", &[], RUNS_COMMANDS),
    ("_posixsubprocess", &[], RUNS_COMMANDS),
    ("_winapi", &[], RUNS_COMMANDS),
    ("commands", &[], RUNS_COMMANDS),
    ("popen2", &[], RUNS_COMMANDS),
    ("pty", &[], RUNS_COMMANDS),
    ("platform", &["popen", "os", "subprocess", "_syscmd_file", "_syscmd_ver"], RUNS_COMMANDS),
    ("asyncio", &[], RUNS_COMMANDS),
    ("multiprocessing", &["Process", "Pool", "util", "popen_fork", "popen_spawn_posix", "process", "pool", "managers"], RUNS_COMMANDS),
    ("concurrent.futures", &[], RUNS_COMMANDS),
    ("uuid", &["_get_command_stdout", "os"], RUNS_COMMANDS),
    ("webbrowser", &[], RUNS_COMMANDS),
    ("ensurepip", &[], RUNS_COMMANDS),
    ("venv", &[], RUNS_COMMANDS),
    ("pip", &[], RUNS_COMMANDS),
    ("setuptools", &[], RUNS_COMMANDS),
    ("distutils", &[], RUNS_COMMANDS),
    ("pydoc", &[], RUNS_COMMANDS),
    ("idlelib", &[], RUNS_COMMANDS),
    ("antigravity", &[], RUNS_COMMANDS),
    ("imaplib", &[], RUNS_COMMANDS),
    ("numpy.distutils", &[], RUNS_COMMANDS),
    ("numpy.f2py", &[], RUNS_COMMANDS),
    ("numpy.testing", &[], RUNS_CODE),
    ("builtins", &["eval", "exec", "execfile", "compile", "breakpoint"], RUNS_CODE),
    ("__builtin__", &["eval", "exec", "execfile", "compile"], RUNS_CODE),
    ("builtins", &["__import__", "reload"], IMPORTS),
    ("__builtin__", &["__import__", "reload"], IMPORTS),
    ("builtins", &["getattr", "setattr", "delattr", "globals", "locals", "vars", "__dict__", "__build_class__"], REACHES_ATTRIBUTES),
    ("__builtin__", &["getattr", "setattr", "delattr", "globals", "locals", "vars"], REACHES_ATTRIBUTES),
    ("builtins", &["apply", "map", "filter", "reduce", "next", "super"], CALLS),
    ("__builtin__", &["apply", "map", "filter", "reduce"], CALLS),
    ("builtins", &["open", "file"], FILES),
    ("__builtin__", &["open", "file"], FILES),
    ("builtins", &["input", "raw_input", "help", "exit", "quit", "print"], INTERPRETER),
    ("__builtin__", &["input", "raw_input"], RUNS_CODE),
    ("sys", &[], INTERPRETER),
    ("__main__", &["__dict__"], REACHES_ATTRIBUTES),
    ("code", &[], RUNS_CODE),
    ("codeop", &[], RUNS_CODE),
    ("runpy", &[], RUNS_CODE),
    ("timeit", &[], RUNS_CODE),
    ("profile", &[], RUNS_CODE),
    ("cProfile", &[], RUNS_CODE),
    ("trace", &[], RUNS_CODE),
    ("bdb", &[], RUNS_CODE),
    ("pdb", &[], RUNS_CODE),
    ("doctest", &[], RUNS_CODE),
    ("unittest", &[], RUNS_CODE),
    ("lib2to3", &[], RUNS_CODE),
    ("logging.config", &[], IMPORTS),
    ("importlib", &[], IMPORTS),
    ("imp", &[], IMPORTS),
    ("pkgutil", &[], IMPORTS),
    ("zipimport", &[], IMPORTS),
    ("site", &[], IMPORTS),
    ("_frozen_importlib", &[], IMPORTS),
    ("_frozen_importlib_external", &[], IMPORTS),
    ("operator", &["attrgetter", "methodcaller", "itemgetter", "call"], REACHES_ATTRIBUTES),
    ("_operator", &["attrgetter", "methodcaller", "itemgetter", "call"], REACHES_ATTRIBUTES),
    ("functools", &["partial", "partialmethod", "reduce", "singledispatch"], CALLS),
    ("_functools", &["partial", "reduce"], CALLS),
    ("itertools", &["starmap", "accumulate", "takewhile", "dropwhile", "filterfalse"], CALLS),
    ("inspect", &[], REACHES_ATTRIBUTES),
    ("gc", &[], REACHES_ATTRIBUTES),
    ("atexit", &[], CALLS),
    ("signal", &["signal", "sigwait", "set_wakeup_fd", "alarm", "setitimer", "pthread_kill", "raise_signal"], CALLS),
    ("threading", &[], CALLS),
    ("_thread", &[], CALLS),
    ("sched", &[], CALLS),
    ("types", &["FunctionType", "LambdaType", "CodeType", "MethodType", "ModuleType", "DynamicClassAttribute"], CODE_OBJECTS),
    ("new", &[], CODE_OBJECTS),
    ("marshal", &[], CODE_OBJECTS),
    ("dill", &[], CODE_OBJECTS),
    ("cloudpickle", &[], CODE_OBJECTS),
    ("pickle", &[], UNPICKLES),
    ("_pickle", &[], UNPICKLES),
    ("cPickle", &[], UNPICKLES),
    ("shelve", &[], UNPICKLES),
    ("joblib", &["load", "numpy_pickle.load"], UNPICKLES),
    ("torch", &["load"], UNPICKLES),
    ("torch.hub", &[], NETWORK),
    ("torch.serialization", &["load"], UNPICKLES),
    ("pandas", &["read_pickle", "eval"], UNPICKLES),
    ("pandas.io", &[], FILES),
    ("pandas.core.computation", &[], RUNS_CODE),
    ("numpy", &["load", "fromfile", "memmap", "save", "savetxt", "loadtxt", "genfromtxt"], FILES),
    ("ctypes", &[], MEMORY),
    ("_ctypes", &[], MEMORY),
    ("cffi", &[], MEMORY),
    ("mmap", &[], MEMORY),
    ("socket", &[], NETWORK),
    ("_socket", &[], NETWORK),
    ("ssl", &[], NETWORK),
    ("http", &[], NETWORK),
    ("httplib", &[], NETWORK),
    ("urllib", &[], NETWORK),
    ("urllib2", &[], NETWORK),
    ("requests", &[], NETWORK),
    ("aiohttp", &[], NETWORK),
    ("ftplib", &[], NETWORK),
    ("smtplib", &[], NETWORK),
    ("poplib", &[], NETWORK),
    ("nntplib", &[], NETWORK),
    ("telnetlib", &[], NETWORK),
    ("xmlrpc", &[], NETWORK),
    ("socketserver", &[], NETWORK),
    ("io", &["open", "FileIO", "open_code"], FILES),
    ("_io", &["open", "FileIO", "open_code"], FILES),
    ("codecs", &["open"], FILES),
    ("shutil", &[], FILES),
    ("tempfile", &[], FILES),
    ("fileinput", &[], FILES),
    ("linecache", &[], FILES),
    ("glob", &[], FILES),
    ("tarfile", &[], FILES),
    ("zipfile", &[], FILES),
    ("sqlite3", &[], FILES),
    ("dbm", &[], FILES),
    ("pathlib", &["Path", "PosixPath.open", "Path.write_text", "os", "io"], FILES),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_with_their_aliases_and_through_others() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("__builtin__", "eval"),
            ("builtins", "exec"),
            ("builtins", "getattr"),
            ("importlib", "import_module"),
            ("importlib.util", "find_spec"),
            ("commands", "getoutput"),
            ("subprocess", "Popen"),
            ("collections", "abc.sys.modules"),
            ("random", "_os.system.__globals__"),
            ("builtins", "getattr.__call__"),
            ("http", "HTTPStatus.os"),
            ("http.client", "HTTPConnection"),
        ] {
            assert!(known(module, name).is_some(), "{module}.{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("osmnx", "Graph"),
            ("builtins", "set"),
            ("pathlib", "PosixPath"),
            ("mine", "os"),
            ("operator", "add"),
            ("http", "HTTPStatus"),
            ("signal", "Signals"),
            ("os", "stat_result"),
        ] {
            assert_eq!(known(module, name), None, "{module}.{name}");
        }
    }
}
