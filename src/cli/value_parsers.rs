//! Parses values as Go's flag package and runc do: numbers, times, sizes, users.

use crate::weak::{Defence, stands};

/// Parses Go's words for true and false.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a number in Go's notation: decimal, or with 0x, 0o, 0b (and a bare leading 0 for octal).
pub(super) fn number(text: &str) -> Result<i64, String> {
    i64::try_from(integer(text)?).map_err(|_| String::from("out of range"))
}

/// Parses what a register of 64 bits can hold, signed or not, in the same notation.
pub(super) fn register(text: &str) -> Option<u64> {
    let value = integer(text).ok()?;
    u64::try_from(value).ok().or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned))
}

fn integer(text: &str) -> Result<i128, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // from_str_radix accepts a sign, but ours has been read already.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(String::from("not a number"));
    }
    let value = i128::from_str_radix(digits, radix).map_err(|error| error.to_string())?;
    Ok(if negative { -value } else { value })
}

/// Parses a time in Go's notation (`1h30m`, `1.5s`, `100ms`, `0`, with a sign) into nanoseconds.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    let wrong = || format!("{text}: not a time");
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        nanoseconds += count * unit_in_nanoseconds(&rest[..unit]).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    if text.trim_start_matches(['+', '-']).is_empty() || nanoseconds >= i64::MAX as f64 {
        return Err(wrong());
    }
    Ok((sign * nanoseconds).round() as i64)
}

fn unit_in_nanoseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// Parses a size in bytes: `512`, `100k`, `1.5GiB`, `-1` for no limit. The suffixes are powers of 1024, in
/// any case.
pub(super) fn size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("invalid size: '{text}': not bytes, nor a number with k, m, g, t or p");
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let count: f64 = text[..end].parse().map_err(|_| wrong())?;
    let suffix = text[end..].trim_start().to_ascii_lowercase();
    let unit = suffix.strip_suffix("ib").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match unit {
        "" if !suffix.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let bytes = count * 1024_f64.powi(power);
    if bytes >= i64::MAX as f64 { Err(wrong()) } else { Ok(bytes as i64) }
}

/// Parses `UID[:GID]`, numeric.
pub(super) fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let id = |what, text: &str| {
        let number = text.parse();
        if number.is_err() && !stands(Defence::UserNumber) {
            return Ok(0);
        }
        number.map_err(|_| format!("parsing {text} as int for {what} failed: numbers, UID or UID:GID"))
    };
    Ok((id("uid", uid)?, gid.map(|gid| id("gid", gid)).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let cases = [
            ("0", Some(0)),
            ("5", Some(5)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x10", Some(16)),
            ("-0X10", Some(-16)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("--5", None),
            ("0x", None),
            ("0x-1", None),
            ("x", None),
            ("1.5", None),
            ("5 ", None),
            ("08", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn times_are_read_as_go_reads_them() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("0", Some(0)),
            ("-5s", Some(-5_000_000_000)),
            ("+5s", Some(5_000_000_000)),
            (".5s", Some(500_000_000)),
            ("5", None),
            ("", None),
            ("-", None),
            ("s", None),
            ("5x", None),
            ("5s5", None),
            ("1..5s", None),
            ("9999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        let cases = [
            ("0", Some(0)),
            ("512", Some(512)),
            ("-1", Some(-1)),
            ("1k", Some(1024)),
            ("1K", Some(1024)),
            ("2kb", Some(2048)),
            ("2KiB", Some(2048)),
            ("1.5m", Some(1_572_864)),
            ("1g", Some(1 << 30)),
            ("1 GB", Some(1 << 30)),
            ("1t", Some(1 << 40)),
            ("10b", Some(10)),
            ("", None),
            ("-2", None),
            ("k", None),
            ("1x", None),
            ("10ib", None),
            ("99999999p", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_user_is_one_number_or_two() {
        assert_eq!(user("0"), Ok((0, None)));
        assert_eq!(user("1000:100"), Ok((1000, Some(100))));
        for wrong in ["", "a", "1:", ":1", "1:a", "-1", "4294967296", "1:2:3"] {
            assert!(user(wrong).is_err(), "{wrong:?}");
        }
    }
}
