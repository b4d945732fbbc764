//! Generators of hostile pickles; see the README beside this file.

/// One hostile pickle.
pub struct Attack {
    /// What tests call it.
    pub name: String,
    /// What it is after.
    pub what: &'static str,
    /// The pickle.
    pub bytes: Vec<u8>,
}

/// Every attack, the large ones with about `scale` opcodes.
pub fn all(scale: usize) -> Vec<Attack> {
    let mut attacks = Attacks(Vec::new());
    towers(&mut attacks, scale);
    nesting(&mut attacks, scale);
    memo(&mut attacks, scale);
    lengths(&mut attacks);
    numbers(&mut attacks, scale);
    keys(&mut attacks, scale);
    cycles(&mut attacks);
    floods(&mut attacks, scale);
    misuse(&mut attacks);
    attacks.0
}

struct Attacks(Vec<Attack>);

impl Attacks {
    fn add(&mut self, name: impl Into<String>, what: &'static str, bytes: Vec<u8>) {
        self.0.push(Attack { name: name.into(), what, bytes });
    }
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Little things that unfold into 2^n when sharing is not kept.
fn towers(attacks: &mut Attacks, scale: usize) {
    let tower = join(&[b"\x80\x04N", &b"2\x86".repeat(scale / 2)]);
    attacks.add("dup_tower", "2^n leaves in n opcodes, as a value", join(&[&tower, b"."]));
    let low = join(&[b"N", &b"2\x86".repeat(64)]);
    attacks.add(
        "dup_tower_as_key",
        "hashing a key walks 2^64 leaves",
        join(&[b"\x80\x04}", &low, b"Ns."]),
    );
    attacks.add(
        "dup_tower_as_member",
        "hashing a member walks 2^64 leaves",
        join(&[b"\x80\x04\x8f(", &low, b"\x90."]),
    );
    attacks.add(
        "dup_towers_compared",
        "comparing two equal keys walks 2^64 leaves",
        join(&[b"\x80\x04}(", &low, b"N", &low, b"Nu."]),
    );
    let mut laughs = b"\x80\x04]\x94".to_vec();
    for level in 0..100u8 {
        let get = [b'h', level];
        laughs.extend_from_slice(&join(&[b"](", &get.repeat(10), b"e\x94"]));
    }
    laughs.push(b'.');
    attacks.add("billion_laughs", "10^100 leaves through the memo", laughs);
}

/// Depth that overflows a native stack.
fn nesting(attacks: &mut Attacks, n: usize) {
    let after_proto = |parts: &[&[u8]]| join(&[b"\x80\x04", &join(parts), b"."]);
    attacks.add(
        "deep_list",
        "lists nested n deep",
        after_proto(&[&b"]".repeat(n), &b"a".repeat(n - 1)]),
    );
    attacks.add("deep_tuple", "tuples nested n deep", after_proto(&[b"N", &b"\x85".repeat(n)]));
    let dict = join(&[&b"}N".repeat(n - 1), b"}", &b"s".repeat(n - 1)]);
    attacks.add("deep_dict", "dicts nested n deep", after_proto(&[&dict]));
    let frozen = join(&[&b"(".repeat(n), &b"\x91".repeat(n)]);
    attacks.add("deep_frozenset", "frozensets nested n deep", after_proto(&[&frozen]));
    attacks.add("deep_marks", "n open marks", after_proto(&[&b"(".repeat(n), b"N"]));
    let key = join(&[b"}N", &b"\x85".repeat(n), b"Ns"]);
    attacks.add(
        "deep_tuple_as_key",
        "a tuple nested n deep is hashed (CPython crashes)",
        after_proto(&[&key]),
    );
    let reduce = join(&[b"cbuiltins\nlist\n", b")R", &b"\x85".repeat(n)]);
    attacks.add("deep_tuple_over_reduce", "an object n tuples deep", after_proto(&[&reduce]));
}

/// Indexes that allocate what they name.
fn memo(attacks: &mut Attacks, scale: usize) {
    attacks.add("huge_put", "memo index 2^32 - 1", b"K\x01r\xff\xff\xff\xff.".to_vec());
    attacks.add("huge_text_put", "memo index 2^63 - 1", b"K\x01p9223372036854775807\n.".to_vec());
    attacks.add("too_huge_text_put", "memo index 2^63", b"K\x01p9223372036854775808\n.".to_vec());
    attacks.add("negative_put", "memo index -1", b"K\x01p-1\n.".to_vec());
    attacks.add("negative_get", "memo index -1", b"K\x01q\x00g-1\n.".to_vec());
    let mut sparse = b"N".to_vec();
    for step in 0..scale as u32 / 5 {
        sparse.push(b'r');
        sparse.extend_from_slice(&step.wrapping_mul(0x9e37_79b1).to_le_bytes());
    }
    sparse.push(b'.');
    attacks.add("sparse_puts", "memo indexes far apart", sparse);
    let mut downwards = b"N".to_vec();
    for index in (0..scale as u32 / 5).rev() {
        downwards.push(b'r');
        downwards.extend_from_slice(&index.to_le_bytes());
    }
    downwards.push(b'.');
    attacks.add("downward_puts", "memo indexes from high to low", downwards);
    let mut missing = b"K\x01".to_vec();
    missing.extend_from_slice(b"j\xff\xff\xff\xff.");
    attacks.add("missing_get", "a memo entry that was never stored", missing);
}

/// Declared lengths beyond anything.
fn lengths(attacks: &mut Attacks) {
    for (name, opcode) in
        [("binunicode", b'X'), ("binbytes", b'B'), ("binstring", b'T'), ("long4", 0x8b)]
    {
        for length in [1u32 << 30, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let bytes = join(&[&[opcode], &length.to_le_bytes(), b"abc."]);
            attacks.add(format!("{name}_{length:#x}"), "a declared length of 2^30 to 2^32", bytes);
        }
    }
    for (name, opcode) in
        [("binunicode8", 0x8d), ("binbytes8", 0x8e), ("bytearray8", 0x96), ("frame", 0x95)]
    {
        for length in [1u64 << 31, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX] {
            let bytes = join(&[&[opcode], &length.to_le_bytes(), b"abc."]);
            attacks.add(format!("{name}_{length:#x}"), "a declared length of 2^31 to 2^64", bytes);
        }
    }
    attacks.add("nested_frames", "frames in frames, all to the end", {
        let mut bytes = b"N.".to_vec();
        for _ in 0..1000 {
            bytes = join(&[&[0x95], &(bytes.len() as u64).to_le_bytes(), &bytes]);
        }
        bytes
    });
}

/// Numbers that take the square of their length to read.
fn numbers(attacks: &mut Attacks, scale: usize) {
    let digits = b"9".repeat(scale);
    attacks.add("decimal_int", "n decimal digits", join(&[b"I", &digits, b"\n."]));
    attacks.add("decimal_long", "n decimal digits", join(&[b"L", &digits, b"L\n."]));
    attacks.add("decimal_put", "n decimal digits as an index", join(&[b"Np", &digits, b"\n."]));
    attacks.add(
        "hex_int",
        "n hex digits, which are linear",
        join(&[b"I0x", &b"f".repeat(scale), b"\n."]),
    );
    attacks.add("octal_int", "n octal digits", join(&[b"I0o", &b"7".repeat(scale), b"\n."]));
    attacks.add("float_digits", "n digits of a float", join(&[b"F1.", &digits, b"\n."]));
    attacks.add("float_exponent", "n digits of an exponent", join(&[b"F1e", &digits, b"\n."]));
    let bytes = vec![0x7f; 8 << 20];
    let length = (bytes.len() as u32).to_le_bytes();
    attacks.add("long4_8mb", "an int of 8 MiB", join(&[b"\x8b", &length, &bytes, b"."]));
    attacks.add("long4_negative", "a length below zero", b"\x8b\xff\xff\xff\xff.".to_vec());
}

/// Keys and members made to be slow or impossible.
fn keys(attacks: &mut Attacks, scale: usize) {
    let mut colliding = b"\x80\x04}(".to_vec();
    for index in 1..=(scale / 16).min(100_000) as u128 {
        // Python hashes an int modulo 2^61 - 1.
        let value = (index * ((1 << 61) - 1)).to_le_bytes();
        colliding.extend_from_slice(&join(&[b"\x8a\x0c", &value[..12], b"N"]));
    }
    colliding.extend_from_slice(b"u.");
    attacks.add("colliding_int_keys", "all keys have one hash", colliding);
    let nan = b"G\x7f\xf8\x00\x00\x00\x00\x00\x00N";
    attacks.add("nan_keys", "keys that equal nothing", join(&[b"}(", &nan.repeat(1000), b"u."]));
    attacks.add("unhashable_key", "a list as a key", b"}]Ns.".to_vec());
    attacks.add("unhashable_member", "a list as a member", b"\x80\x04\x8f(]\x90.".to_vec());
    attacks.add("dict_as_its_key", "a dict as its own key", b"}q\x00h\x00Ns.".to_vec());
    attacks.add(
        "set_in_itself",
        "a set as its own member",
        b"\x80\x04\x8f\x94(h\x00\x90.".to_vec(),
    );
    // Two keys that differ in their last byte, in dicts of two, and in one large dict.
    let (one, other) = (vec![b'x'; scale / 2], [&vec![b'x'; scale / 2 - 1][..], b"y"].concat());
    let length = (one.len() as u32).to_le_bytes();
    let two = join(&[b"X", &length, &one, b"q\x00X", &length, &other, b"q\x01"]);
    attacks.add(
        "long_keys_in_small_dicts",
        "comparing keys of n bytes in n dicts",
        join(&[&two, b"(", &b"}h\x00Nsh\x01Ns".repeat(scale / 20), b"l."]),
    );
    attacks.add(
        "long_keys_in_one_dict",
        "hashing a key of n bytes n times",
        join(&[&two, b"}(", &b"h\x00Nh\x01N".repeat(scale / 20), b"u."]),
    );
    attacks.add("odd_items", "a key without a value", b"}(K\x01u.".to_vec());
}

/// Values that hold themselves.
fn cycles(attacks: &mut Attacks) {
    attacks.add("list_in_itself", "a list in itself", b"]q\x00h\x00a.".to_vec());
    attacks.add("dict_in_itself", "a dict in itself", b"}q\x00K\x01h\x00s.".to_vec());
    attacks.add(
        "tuple_in_itself",
        "a tuple that holds a list that holds it",
        b"\x80\x04]\x94(h\x00t\x94h\x00h\x01a0.".to_vec(),
    );
    attacks.add(
        "reduce_args_in_themselves",
        "arguments that hold their own list",
        b"\x80\x04cbuiltins\nlist\n]\x94h\x00a\x85R.".to_vec(),
    );
    attacks.add(
        "frozenset_of_its_reduce",
        "a set made from a list that it is in",
        b"\x80\x04cbuiltins\nset\n]\x94\x85R\x94h\x00h\x01a0h\x01.".to_vec(),
    );
}

/// Many of the same.
fn floods(attacks: &mut Attacks, n: usize) {
    attacks.add("dups", "n DUPs", join(&[b"N", &b"2".repeat(n), b"."]));
    attacks.add("memoizes", "n MEMOIZEs", join(&[b"\x80\x04N", &b"\x94".repeat(n), b"."]));
    attacks.add("protos", "n PROTOs", join(&[&b"\x80\x04".repeat(n / 2), b"N."]));
    attacks.add("nones", "n values on the stack at STOP", join(&[&b"N".repeat(n), b"."]));
    attacks.add("nones_in_a_tuple", "n values in one tuple", join(&[b"(", &b"N".repeat(n), b"t."]));
    attacks.add("empty_lists", "n empty lists", join(&[b"(", &b"]".repeat(n), b"t."]));
    attacks.add(
        "marks_popped",
        "n marks opened and closed",
        join(&[b"N", &b"(0".repeat(n / 2), b"."]),
    );
    attacks.add("empty_appends", "n APPENDS of nothing", join(&[b"]", &b"(e".repeat(n / 2), b"."]));
    attacks.add("line_without_end", "n bytes and no newline", join(&[b"V", &b"a".repeat(n)]));
}

/// Each opcode where it cannot work.
fn misuse(attacks: &mut Attacks) {
    let bare: &[u8] = b"aebdsu0127lto\x81\x85\x86\x87\x8f\x90\x91\x92\x93\x94\x97\x98RQ.";
    for &opcode in bare {
        let op = [opcode];
        attacks.add(
            format!("empty_stack_{opcode:#04x}"),
            "an opcode on an empty stack",
            join(&[&op, b"."]),
        );
        attacks.add(
            format!("under_mark_{opcode:#04x}"),
            "a mark where objects should be",
            join(&[b"NNN(", &op, b"."]),
        );
        for (kind, operand) in
            [("none", &b"N"[..]), ("int", b"K\x01"), ("list", b"]"), ("str", b"X\x01\x00\x00\x00a")]
        {
            let operands = operand.repeat(3);
            attacks.add(
                format!("wrong_type_{opcode:#04x}_{kind}"),
                "an opcode on operands it cannot work on",
                join(&[&operands, &op, b"."]),
            );
            attacks.add(
                format!("wrong_type_marked_{opcode:#04x}_{kind}"),
                "the same with a mark",
                join(&[operand, b"(", &operands, &op, b"."]),
            );
        }
    }
    for (name, bytes) in [
        ("bad_utf8", &b"X\x01\x00\x00\x00\xff."[..]),
        ("overlong_utf8", b"X\x02\x00\x00\x00\xc0\x80."),
        ("cut_surrogate", b"X\x02\x00\x00\x00\xed\xa0."),
        ("bad_escape", b"V\\U99999999\n."),
        ("unknown_opcode", b"\xff."),
        ("protocol_255", b"\x80\xffN."),
        ("extension_zero", b"\x82\x00."),
        ("no_opcodes", b""),
        ("junk_before", b"\x00\x01\x02junkK\x01."),
    ] {
        attacks.add(name, "bytes that are no pickle", bytes.to_vec());
    }
}
