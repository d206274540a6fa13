//! Figures with their goals, as a table or as JSON.

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    /// What came out.
    pub(crate) value: f64,
    /// In what.
    pub(crate) unit: &'static str,
    /// At most this is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<f64>,
    /// What else is to be known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, goal: None, note: String::new() }
    }

    pub(crate) fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// All figures, in the order they were measured; each is shown on stderr as soon as it is there.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn add(&mut self, figure: Figure) {
        eprintln!("  {}", line(&figure));
        self.figures.push(figure);
    }

    /// The whole report as text.
    pub(crate) fn table(&self) -> String {
        self.figures.iter().map(|f| line(f) + "\n").collect()
    }
}

fn line(figure: &Figure) -> String {
    let goal = figure.goal.map_or(String::new(), |goal| {
        let mark = if figure.value <= goal { '√' } else { '×' };
        format!("goal ≤ {goal} {} {mark}", figure.unit)
    });
    let text =
        format!("{:<46} {:>10.3} {:<4} {goal:<20} {}", figure.name, figure.value, figure.unit, figure.note);
    text.trim_end().to_owned()
}

/// The value below which this share of sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[cfg(test)]
mod tests;
