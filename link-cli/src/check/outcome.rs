//! What checks found, and how it is shown.

use serde_json::{Value, json};

/// Where each check is explained.
const PAGES: &str = "https://isthmus.dev/checks#";

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well.
    Good,
    /// Something should be looked at: why, and what to do.
    Warning(String, String),
    /// Something is broken: why, and what to do.
    Error(String, String),
}

impl Verdict {
    /// Good without a reason, an error with one.
    pub(super) fn error_if(why: Option<String>, fix: impl Into<String>) -> Self {
        why.map_or(Self::Good, |why| Self::Error(why, fix.into()))
    }

    /// Good without a reason, a warning with one.
    pub(super) fn warning_if(why: Option<String>, fix: impl Into<String>) -> Self {
        why.map_or(Self::Good, |why| Self::Warning(why, fix.into()))
    }

    /// A question the API server did not answer.
    pub(super) fn unanswered(error: &mesh_kube::kube::Error) -> Self {
        let fix = "ask it yourself:  kubectl cluster-info   (and check what your account may read)";
        Self::Error(mesh_kube::explain(error), fix.to_owned())
    }
}

struct Checked {
    description: String,
    anchor: &'static str,
    verdict: Verdict,
}

/// Checks that belong together.
pub(super) struct Category {
    name: &'static str,
    checks: Vec<Checked>,
}

impl Category {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, checks: Vec::new() }
    }

    /// Adds a check. Answers whether it ended well enough to go on.
    pub(super) fn add(
        &mut self,
        anchor: &'static str,
        description: impl Into<String>,
        verdict: Verdict,
    ) -> bool {
        debug_assert!(super::anchors::ANCHORS.contains(&anchor), "{anchor} is not among the anchors");
        let passed = !matches!(verdict, Verdict::Error(..));
        self.checks.push(Checked { description: description.into(), anchor, verdict });
        passed
    }

    fn text(&self, only_bad: bool) -> String {
        let shown: Vec<&Checked> =
            self.checks.iter().filter(|c| !only_bad || c.verdict != Verdict::Good).collect();
        if shown.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n{}\n", self.name, "-".repeat(self.name.len()));
        for check in shown {
            match &check.verdict {
                Verdict::Good => out.push_str(&format!("√ {}\n", check.description)),
                Verdict::Warning(why, fix) => out.push_str(&check.trouble("‼", why, fix)),
                Verdict::Error(why, fix) => out.push_str(&check.trouble("×", why, fix)),
            }
        }
        out.push('\n');
        out
    }

    fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            let (result, error) = match &check.verdict {
                Verdict::Good => ("success", None),
                Verdict::Warning(why, _) => ("warning", Some(why)),
                Verdict::Error(why, _) => ("error", Some(why)),
            };
            let mut entry = json!({"description": check.description, "result": result});
            if let Some(error) = error {
                entry["error"] = json!(error);
                entry["hint"] = json!(format!("{PAGES}{}", check.anchor));
            }
            entry
        });
        json!({"categoryName": self.name, "checks": checks.collect::<Vec<_>>()})
    }
}

impl Checked {
    fn trouble(&self, mark: &str, why: &str, fix: &str) -> String {
        format!("{mark} {}\n    {why}\n    {fix}\n    see {PAGES}{}\n", self.description, self.anchor)
    }
}

/// Everything found so far. Tables are printed as they grow.
pub(super) struct Report {
    format: String,
    categories: Vec<Category>,
}

impl Report {
    pub(super) fn new(format: &str) -> Self {
        Self { format: format.to_owned(), categories: Vec::new() }
    }

    pub(super) fn add(&mut self, category: Category) {
        if self.format != "json" {
            print!("{}", category.text(self.format == "short"));
        }
        self.categories.push(category);
    }

    /// Prints the end and answers whether nothing failed.
    pub(super) fn finish(self) -> anyhow::Result<bool> {
        let all = self.categories.iter().flat_map(|c| &c.checks);
        let well = !all.into_iter().any(|c| matches!(c.verdict, Verdict::Error(..)));
        if self.format == "json" {
            let categories: Vec<Value> = self.categories.iter().map(Category::json).collect();
            let report = json!({"success": well, "categories": categories});
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!("Status check results are {}", if well { "√" } else { "×" });
        }
        Ok(well)
    }
}
