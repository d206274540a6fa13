//! The functions of the subset, with the meaning they have in Helm (Go's own and Sprig's).

use super::yaml::to_yaml;
use base64::Engine;
use serde_json::{Map, Value};

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    match name {
        "eq" | "ne" | "not" | "empty" | "default" | "ternary" | "required" | "fail" | "coalesce" => {
            logic(name, args)
        }
        "list" | "dict" | "get" | "hasKey" | "has" | "omit" | "pick" | "merge" | "concat" | "len"
        | "first" => data(name, args),
        "int" | "add" | "gt" | "lt" | "ge" | "le" => numbers(name, args),
        _ => strings(name, args),
    }
}

/// What counts as true: anything but nil, false, 0 and the empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

fn wrong(name: &str) -> String {
    format!("{name}: wrong number or kind of arguments")
}

fn logic(name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("eq", [first, rest @ ..]) if !rest.is_empty() => Ok(rest.contains(first).into()),
        ("ne", [a, b]) => Ok((a != b).into()),
        ("not", [a]) => Ok((!truth(a)).into()),
        ("empty", [a]) => Ok((!truth(a)).into()),
        ("default", [fallback, value]) => Ok(if truth(value) { value } else { fallback }.clone()),
        ("coalesce", all) => Ok(all.iter().find(|v| truth(v)).cloned().unwrap_or_default()),
        ("ternary", [yes, no, condition]) => Ok(if truth(condition) { yes } else { no }.clone()),
        ("required", [message, value]) if matches!(value, Value::Null) || *value == "" => Err(text(message)),
        ("required", [_, value]) => Ok(value.clone()),
        ("fail", [message]) => Err(text(message)),
        _ => Err(wrong(name)),
    }
}

fn data(name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("list", all) => Ok(Value::Array(all.to_vec())),
        ("dict", all) if all.len() % 2 == 0 => {
            Ok(all.chunks(2).map(|pair| (text(&pair[0]), pair[1].clone())).collect::<Map<_, _>>().into())
        }
        ("get", [Value::Object(map), key]) => Ok(map.get(&text(key)).cloned().unwrap_or_else(|| "".into())),
        ("hasKey", [Value::Object(map), key]) => Ok(map.contains_key(&text(key)).into()),
        ("has", [item, Value::Array(list)]) => Ok(list.contains(item).into()),
        ("has", [_, Value::Null]) => Ok(false.into()),
        ("omit" | "pick", [Value::Object(map), keys @ ..]) => {
            let listed = |k: &String| keys.iter().any(|key| key == k);
            let kept = map.iter().filter(|(k, _)| listed(k) == (name == "pick"));
            Ok(kept.map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>().into())
        }
        ("merge", [first, rest @ ..]) => {
            let mut out = first.clone();
            rest.iter().for_each(|source| merge_missing(&mut out, source));
            Ok(out)
        }
        ("concat", lists) => {
            let items = lists.iter().filter_map(Value::as_array).flatten();
            Ok(items.cloned().collect())
        }
        ("len", [Value::Array(list)]) => Ok(list.len().into()),
        ("len", [Value::Object(map)]) => Ok(map.len().into()),
        ("len", [Value::String(s)]) => Ok(s.len().into()),
        ("first", [Value::Array(list)]) => Ok(list.first().cloned().unwrap_or_default()),
        _ => Err(wrong(name)),
    }
}

/// Adds what `target` lacks, deeply.
fn merge_missing(target: &mut Value, source: &Value) {
    let (Value::Object(target), Value::Object(source)) = (target, source) else { return };
    for (key, value) in source {
        match target.get_mut(key) {
            Some(existing) => merge_missing(existing, value),
            None => drop(target.insert(key.clone(), value.clone())),
        }
    }
}

fn numbers(name: &str, args: &[Value]) -> Result<Value, String> {
    let number = |v: &Value| v.as_i64().or_else(|| v.as_str()?.parse().ok());
    match (name, args) {
        ("int", [v]) => Ok(number(v).or_else(|| v.as_f64().map(|f| f as i64)).unwrap_or(0).into()),
        ("add", all) => Ok(all.iter().filter_map(number).sum::<i64>().into()),
        ("gt" | "lt" | "ge" | "le", [a, b]) => {
            let (Some(a), Some(b)) = (number(a), number(b)) else { return Err(wrong(name)) };
            let holds = match name {
                "gt" => a > b,
                "lt" => a < b,
                "ge" => a >= b,
                _ => a <= b,
            };
            Ok(holds.into())
        }
        _ => Err(wrong(name)),
    }
}

fn strings(name: &str, args: &[Value]) -> Result<Value, String> {
    let base64 = &base64::engine::general_purpose::STANDARD;
    let made = match (name, args) {
        ("quote", [Value::Null]) | ("squote", [Value::Null]) => String::new(),
        ("quote", [v]) => Value::String(text(v)).to_string(),
        ("squote", [v]) => format!("'{}'", text(v)),
        ("toString", [v]) => text(v),
        ("toYaml", [v]) => to_yaml(v).trim_end().to_owned(),
        ("toJson", [v]) => v.to_string(),
        ("indent", [n, v]) => indent(n, v),
        ("nindent", [n, v]) => format!("\n{}", indent(n, v)),
        ("trim", [v]) => text(v).trim().to_owned(),
        ("trimSuffix", [suffix, v]) => text(v).trim_end_matches(&text(suffix)).to_owned(),
        ("trimPrefix", [prefix, v]) => text(v).trim_start_matches(&text(prefix)).to_owned(),
        ("upper", [v]) => text(v).to_uppercase(),
        ("lower", [v]) => text(v).to_lowercase(),
        ("replace", [from, to, v]) => text(v).replace(&text(from), &text(to)),
        ("contains", [part, v]) => return Ok(text(v).contains(&text(part)).into()),
        ("hasPrefix", [part, v]) => return Ok(text(v).starts_with(&text(part)).into()),
        ("b64enc", [v]) => base64.encode(text(v)),
        ("b64dec", [v]) => {
            let bytes = base64.decode(text(v)).map_err(|e| format!("b64dec: {e}"))?;
            String::from_utf8(bytes).map_err(|e| format!("b64dec: {e}"))?
        }
        ("join", [separator, Value::Array(list)]) => {
            list.iter().map(text).collect::<Vec<_>>().join(&text(separator))
        }
        ("splitList", [separator, v]) => {
            return Ok(text(v).split(&text(separator)).map(Value::from).collect());
        }
        ("printf", [format, rest @ ..]) => printf(&text(format), rest)?,
        _ => {
            let known = "charts/README.md lists the functions";
            return Err(format!("{name}: unknown function, or wrong arguments; {known}"));
        }
    };
    Ok(Value::String(made))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn indent(by: &Value, value: &Value) -> String {
    let pad = " ".repeat(by.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0));
    text(value).split('\n').map(|line| format!("{pad}{line}")).collect::<Vec<_>>().join("\n")
}

/// `%s`, `%d`, `%v`, `%q` and `%%`.
fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let (mut chars, mut args) = (format.chars(), args.iter());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = args.next().ok_or_else(|| format!("printf {format:?}: too few arguments"))?;
        match verb {
            Some('s' | 'd' | 'v') => out.push_str(&text(value)),
            Some('q') => out.push_str(&Value::String(text(value)).to_string()),
            _ => return Err(format!("printf {format:?}: only %s %d %v %q %% are part of the subset")),
        }
    }
    Ok(out)
}
