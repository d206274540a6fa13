//! What is tried again, as annotations and `l5d-retry-*` fields write it.

/// Why a list of conditions cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// No HTTP condition.
    #[error("{0:?} must be 5xx, gateway-error, a status, or a range such as 500-504")]
    Status(String),
    /// No gRPC condition.
    #[error("{0:?} must be cancelled, deadline-exceeded, internal, resource-exhausted or unavailable")]
    Code(String),
    /// Nothing at all.
    #[error("the list names no condition")]
    Empty,
}

/// Reads HTTP conditions: `5xx`, `gateway-error`, statuses and ranges, separated by commas. Gives inclusive ranges.
///
/// # Errors
/// [`RetryError`] naming the word that cannot be read.
pub fn statuses(list: &str) -> Result<Vec<(u16, u16)>, RetryError> {
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|s| (100..600).contains(s));
    words(list, |word| match word {
        "5xx" => Ok((500, 599)),
        "gateway-error" => Ok((502, 504)),
        _ => {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let range = status(first).zip(status(last)).filter(|(first, last)| first <= last);
            range.ok_or_else(|| RetryError::Status(word.to_owned()))
        }
    })
}

/// Reads gRPC conditions, names of codes separated by commas. Gives the codes.
///
/// # Errors
/// [`RetryError`] naming the word that cannot be read.
pub fn grpc_codes(list: &str) -> Result<Vec<u16>, RetryError> {
    words(list, |word| match word {
        "cancelled" => Ok(1),
        "deadline-exceeded" => Ok(4),
        "resource-exhausted" => Ok(8),
        "internal" => Ok(13),
        "unavailable" => Ok(14),
        _ => Err(RetryError::Code(word.to_owned())),
    })
}

fn words<T>(list: &str, read: impl Fn(&str) -> Result<T, RetryError>) -> Result<Vec<T>, RetryError> {
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    let read: Vec<T> = words.map(read).collect::<Result<_, _>>()?;
    if read.is_empty() { Err(RetryError::Empty) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_conditions_are_words_statuses_and_ranges() {
        let list = "5xx, 429,400-404,gateway-error";
        assert_eq!(statuses(list), Ok(vec![(500, 599), (429, 429), (400, 404), (502, 504)]));
        for wrong in ["504-500", "6xx", "99", "700", "500-", "-"] {
            assert_eq!(statuses(wrong), Err(RetryError::Status(wrong.to_owned())));
        }
        assert_eq!(statuses(" , "), Err(RetryError::Empty));
    }

    #[test]
    fn grpc_conditions_are_names_of_codes() {
        assert_eq!(grpc_codes("cancelled,unavailable , internal"), Ok(vec![1, 14, 13]));
        assert_eq!(grpc_codes("Unavailable"), Err(RetryError::Code("Unavailable".to_owned())));
        assert_eq!(grpc_codes(""), Err(RetryError::Empty));
    }
}
