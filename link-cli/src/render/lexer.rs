//! Template text into literal text and actions, and actions into tokens.

use super::RenderError;
use serde_json::{Number, Value};

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Text outside `{{ }}`, trimmed as its neighbours ask.
    Text(String),
    /// The inside of `{{ }}`.
    Action(Vec<Token>, usize),
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A function name or keyword.
    Word(String),
    /// `.a.b`; no parts for a lone dot. The flag tells whether it touches what is before it, as in `(f).a`.
    Field(Vec<String>, bool),
    /// `$x.a.b`, name without the dollar.
    Variable(String, Vec<String>),
    /// A string, number, boolean or nil.
    Literal(Value),
    /// `(`, `)`, `|`, `,`, `=` or `:=`.
    Mark(&'static str),
}

/// Splits a template.
pub(super) fn pieces(template: &str, text: &str) -> Result<Vec<Piece>, RenderError> {
    let mut out = Vec::new();
    let (mut rest, mut line, mut trim_next) = (text, 1, false);
    while let Some(start) = rest.find("{{") {
        let mut literal = &rest[..start];
        let mut body = &rest[start + 2..];
        let trim_before = body.starts_with("- ") || body.starts_with("-\n");
        if trim_before {
            body = &body[1..];
        }
        let action_line = line + count(literal);
        let fail = |message: &str| error(template, action_line, message);
        let (inside, consumed, trim_after) = action_end(body).ok_or_else(|| fail("{{ has no matching }}"))?;
        line = action_line + count(&body[..consumed]);
        if trim_next {
            literal = literal.trim_start();
        }
        if trim_before {
            literal = literal.trim_end();
        }
        if !literal.is_empty() {
            out.push(Piece::Text(literal.to_owned()));
        }
        if !inside.trim_start().starts_with("/*") {
            out.push(Piece::Action(tokens(template, action_line, inside)?, action_line));
        }
        trim_next = trim_after;
        rest = &body[consumed..];
    }
    let tail = if trim_next { rest.trim_start() } else { rest };
    if !tail.is_empty() {
        out.push(Piece::Text(tail.to_owned()));
    }
    Ok(out)
}

fn count(text: &str) -> usize {
    text.matches('\n').count()
}

pub(super) fn error(template: &str, line: usize, message: &str) -> RenderError {
    RenderError { template: template.to_owned(), line, message: message.to_owned() }
}

/// The inside of an action, the length up to and with its `}}`, and whether it trims what follows.
fn action_end(body: &str) -> Option<(&str, usize, bool)> {
    if body.trim_start().starts_with("/*") {
        let close = body.find("*/")? + 2;
        let end = close + body[close..].find("}}")?;
        return Some((&body[..close], end + 2, body[close..end].trim() == "-"));
    }
    let (mut quote, mut escaped) = (None, false);
    for (i, c) in body.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if body[i..].starts_with("}}") => {
                let inside = &body[..i];
                let trim = inside.ends_with(" -") || inside.ends_with("\n-");
                return Some((if trim { &inside[..i - 1] } else { inside }, i + 2, trim));
            }
            None => {}
        }
    }
    None
}

fn tokens(template: &str, line: usize, text: &str) -> Result<Vec<Token>, RenderError> {
    let fail = |message: String| error(template, line, &message);
    let mut out = Vec::new();
    let mut rest = text;
    let mut touching = false;
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            rest = rest.trim_start();
            touching = false;
            continue;
        }
        let (token, length) = match c {
            '"' | '`' => string(rest).ok_or_else(|| fail(format!("unfinished string {rest}")))?,
            '.' | '$' => path(rest, touching),
            '(' => (Token::Mark("("), 1),
            ')' => (Token::Mark(")"), 1),
            '|' => (Token::Mark("|"), 1),
            ',' => (Token::Mark(","), 1),
            '=' => (Token::Mark("="), 1),
            ':' if rest.starts_with(":=") => (Token::Mark(":="), 2),
            '0'..='9' | '-' => number(rest).ok_or_else(|| fail(format!("not a number: {rest}")))?,
            c if c.is_alphabetic() || c == '_' => word(rest),
            other => return Err(fail(format!("unexpected {other:?}"))),
        };
        out.push(token);
        rest = &rest[length..];
        touching = true;
    }
    Ok(out)
}

fn string(text: &str) -> Option<(Token, usize)> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`')?;
        return Some((Token::Literal(raw[..end].into()), end + 2));
    }
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                // Go's escapes that charts use are JSON's.
                let value: String = serde_json::from_str(&text[..=i]).ok()?;
                return Some((Token::Literal(value.into()), i + 1));
            }
            _ => {}
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn path(text: &str, touching: bool) -> (Token, usize) {
    let end = text.find(|c: char| !(is_name(c) || c == '.' || c == '$')).unwrap_or(text.len());
    let mut parts = text[..end].split('.').map(str::to_owned);
    let first = parts.next().unwrap_or_default();
    let parts: Vec<String> = parts.filter(|p| !p.is_empty()).collect();
    match first.strip_prefix('$') {
        Some(name) => (Token::Variable(name.to_owned(), parts), end),
        None => (Token::Field(parts, touching), end),
    }
}

fn number(text: &str) -> Option<(Token, usize)> {
    let end = text[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(text.len(), |i| i + 1);
    let number: Number = serde_json::from_str(&text[..end]).ok()?;
    Some((Token::Literal(Value::Number(number)), end))
}

fn word(text: &str) -> (Token, usize) {
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let token = match &text[..end] {
        "true" => Token::Literal(true.into()),
        "false" => Token::Literal(false.into()),
        "nil" => Token::Literal(Value::Null),
        word => Token::Word(word.to_owned()),
    };
    (token, end)
}
