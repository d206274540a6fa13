//! Durations as annotations write them: an integer and one unit, `ms`, `s`, `m`, `h` or `d`.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not `<integer><unit>`.
    #[error("duration {0:?} must be an integer followed by ms, s, m, h or d, such as 500ms or 10s")]
    Form(String),
    /// The number does not fit.
    #[error("duration {0:?} is too large")]
    Range(String),
}

/// Parses a duration such as `500ms` or `24h`.
///
/// # Errors
/// [`DurationError`] with the text and the accepted form.
pub fn parse_duration(s: &str) -> Result<Duration, DurationError> {
    let text = s.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| DurationError::Form(s.to_owned()))?;
    let (digits, unit) = text.split_at(split);
    if digits.is_empty() {
        return Err(DurationError::Form(s.to_owned()));
    }
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DurationError::Form(s.to_owned())),
    };
    let range = || DurationError::Range(s.to_owned());
    let number: u64 = digits.parse().map_err(|_| range())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(range)
}

#[cfg(test)]
mod tests;
