//! `repr` as Python writes it, for str, bytes, float and int.
//!
//! The disassembler and the printing of values share these, so that both say
//! exactly what a Python prompt would. Nothing here allocates more than what
//! it prints, and nothing reads anything but its argument.

use crate::printable::is_printable;
use crate::str::PickleStr;

/// The decimal digits past which CPython refuses to turn an int into text or
/// text into an int (`sys.get_int_max_str_digits()` at its default).
pub const MAX_INT_DIGITS: usize = 4300;

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn push_hex(out: &mut String, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let nibble = (value >> (4 * place)) & 0xf;
        out.push(HEX.get(nibble as usize).copied().unwrap_or('0'));
    }
}

/// The quote Python picks: double only when there is a single quote and no
/// double one.
fn quote_for(bytes: &[u8]) -> char {
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' }
}

/// Appends the escape of an ASCII code point, or the character itself.
fn push_ascii(out: &mut String, byte: u8, quote: char) {
    match byte {
        b'\\' => out.push_str("\\\\"),
        b'\t' => out.push_str("\\t"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        _ if char::from(byte) == quote => {
            out.push('\\');
            out.push(quote);
        }
        0x20..=0x7e => out.push(char::from(byte)),
        _ => {
            out.push_str("\\x");
            push_hex(out, u32::from(byte), 2);
        }
    }
}

/// Appends `repr` of a str.
pub fn push_str(out: &mut String, text: PickleStr<'_>) {
    push_str_up_to(out, text, usize::MAX);
}

/// Appends `repr` of a str, and stops once `out` is longer than `max_len` bytes: for printing the
/// beginning of a text of gigabytes.
pub fn push_str_up_to(out: &mut String, text: PickleStr<'_>, max_len: usize) {
    let quote = quote_for(text.as_bytes());
    out.push(quote);
    for code_point in text.code_points() {
        if out.len() > max_len {
            return;
        }
        match code_point {
            0..=0x7f => push_ascii(out, code_point as u8, quote),
            _ => match char::from_u32(code_point).filter(|_| is_printable(code_point)) {
                Some(shown) => out.push(shown),
                None if code_point <= 0xff => {
                    out.push_str("\\x");
                    push_hex(out, code_point, 2);
                }
                None if code_point <= 0xffff => {
                    out.push_str("\\u");
                    push_hex(out, code_point, 4);
                }
                None => {
                    out.push_str("\\U");
                    push_hex(out, code_point, 8);
                }
            },
        }
    }
    out.push(quote);
}

/// Appends `repr` of a bytes object.
pub fn push_bytes(out: &mut String, bytes: &[u8]) {
    push_bytes_up_to(out, bytes, usize::MAX);
}

/// Appends `repr` of a bytes object, and stops once `out` is longer than `max_len` bytes.
pub fn push_bytes_up_to(out: &mut String, bytes: &[u8], max_len: usize) {
    let quote = quote_for(bytes);
    out.push('b');
    out.push(quote);
    for &byte in bytes {
        if out.len() > max_len {
            return;
        }
        push_ascii(out, byte, quote);
    }
    out.push(quote);
}

/// Appends `repr` of a bytearray. Unlike that of bytes, it escapes a single
/// quote whichever quotes it stands in, as CPython does.
pub fn push_bytearray(out: &mut String, bytes: &[u8]) {
    push_bytearray_up_to(out, bytes, usize::MAX);
}

/// Appends `repr` of a bytearray, and stops once `out` is longer than `max_len` bytes.
pub fn push_bytearray_up_to(out: &mut String, bytes: &[u8], max_len: usize) {
    let quote = quote_for(bytes);
    out.push_str("bytearray(b");
    out.push(quote);
    for &byte in bytes {
        if out.len() > max_len {
            return;
        }
        if byte == b'\'' {
            out.push_str("\\'");
        } else {
            push_ascii(out, byte, quote);
        }
    }
    out.push(quote);
    out.push(')');
}

/// Appends `repr` of a float: the shortest digits that read back as the same
/// number, an exponent below 1e-4 and from 1e16 up.
pub fn push_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("nan");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value < 0.0 { "-inf" } else { "inf" });
        return;
    }
    // Rust's `{:e}` gives the same shortest digits: d.ddde±x.
    let mut scientific = format!("{value:e}");
    // Between two shortest forms at the same distance Rust takes the upper one, Python the even
    // one, which is what rounding the exact value to as many digits gives.
    let digits = scientific.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit);
    let digits = digits.count();
    if digits >= 15 {
        let even = format!("{value:.*e}", digits - 1);
        if even.parse() == Ok(value) {
            scientific = even;
        }
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (first, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    out.push_str(sign);
    if (-4..16).contains(&exponent) {
        push_positional(out, first, fraction, exponent);
        return;
    }
    out.push_str(first);
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out.push('e');
    out.push(if exponent < 0 { '-' } else { '+' });
    if exponent.abs() < 10 {
        out.push('0');
    }
    out.push_str(itoa::Buffer::new().format(exponent.abs()));
}

fn push_positional(out: &mut String, first: &str, fraction: &str, exponent: i32) {
    if exponent < 0 {
        out.push_str("0.");
        for _ in 1..-exponent {
            out.push('0');
        }
        out.push_str(first);
        out.push_str(fraction);
        return;
    }
    let whole = exponent as usize;
    out.push_str(first);
    match fraction.split_at_checked(whole) {
        Some((before, after)) => {
            out.push_str(before);
            out.push('.');
            out.push_str(if after.is_empty() { "0" } else { after });
        }
        None => {
            out.push_str(fraction);
            for _ in fraction.len()..whole {
                out.push('0');
            }
            out.push_str(".0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f64) -> String {
        let mut out = String::new();
        push_float(&mut out, value);
        out
    }

    fn text(value: &str) -> String {
        let mut out = String::new();
        push_str(&mut out, value.into());
        out
    }

    #[test]
    fn floats_print_as_python_prints_them() {
        for (value, shown) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (123.456, "123.456"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (123_456_802.384_765_62, "123456802.38476562"),
            (9007199254740993.0, "9007199254740992.0"),
            (123456789012345680.0, "1.2345678901234568e+17"),
        ] {
            assert_eq!(float(value), shown);
        }
    }

    #[test]
    fn strings_pick_their_quotes_and_escape_what_does_not_print() {
        assert_eq!(text("it's"), "\"it's\"");
        assert_eq!(text("it's \"q\""), "'it\\'s \"q\"'");
        assert_eq!(
            text("\t\r\n\\\u{0}\u{7f}\u{a0}é\u{2028}😀\u{e0001}"),
            "'\\t\\r\\n\\\\\\x00\\x7f\\xa0é\\u2028😀\\U000e0001'"
        );
    }

    #[test]
    fn surrogate_halves_print_as_escapes_and_are_not_joined() {
        let mut out = String::new();
        push_str(&mut out, PickleStr::from_bytes(b"\xed\xa0\xbd\xed\xb8\x80").unwrap());
        assert_eq!(out, "'\\ud83d\\ude00'");
    }

    #[test]
    fn bytearray_escapes_single_quotes_inside_double_ones() {
        let mut out = String::new();
        push_bytearray(&mut out, b"it's");
        assert_eq!(out, "bytearray(b\"it\\'s\")");
        out.clear();
        push_bytes(&mut out, b"it's");
        assert_eq!(out, "b\"it's\"");
    }
}
