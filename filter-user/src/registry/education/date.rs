//! Days as records have them.

/// A day as `YYYY-MM-DD`, from that or from `DD.MM.YYYY`, as Russian spreadsheets write it; `None` if there is no
/// such day.
pub(super) fn iso(text: &str) -> Option<String> {
    let (year, month, day) = match text.split_once('-') {
        Some((year, rest)) => {
            let (month, day) = rest.split_once('-')?;
            (year, month, day)
        }
        None => {
            let (day, rest) = text.split_once('.')?;
            let (month, year) = rest.split_once('.')?;
            (year, month, day)
        }
    };
    let number = |text: &str, digits: usize| -> Option<u32> {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    (1..=days)
        .contains(&day)
        .then(|| format!("{year:04}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, wanted) in [
            ("2026-01-31", "2026-01-31"),
            ("31.01.2026", "2026-01-31"),
            ("29.02.2024", "2024-02-29"),
        ] {
            assert_eq!(iso(text).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-02-30",
            "29.02.2026",
            "1.2.2026",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "31-01-2026",
            "+026-01-01",
            "2026-01-01T00:00",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }
}
