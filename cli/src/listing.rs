//! Rows with columns, in the three forms that every listing has.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde_json::Value;

use crate::args::Format;

/// Rules around the whole and below the header; lines between rows would cost half of a screen.
const STYLE: TableStyle = TableStyle::new()
    .top_border(RULE)
    .header_separator(RULE)
    .bottom_border(RULE);

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// Where a column shows up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everyone,
    People,
    Programs,
}

/// One column: how it is named for people and for programs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    key: &'static str,
    title: &'static str,
    right: bool,
    audience: Audience,
}

impl Column {
    /// A column of text.
    pub(crate) const fn text(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            right: false,
            audience: Audience::Everyone,
        }
    }

    /// A column of numbers.
    pub(crate) const fn number(key: &'static str, title: &'static str) -> Self {
        Self {
            right: true,
            ..Self::text(key, title)
        }
    }

    /// Only in the table: a summary of what programs get in columns of its own.
    pub(crate) const fn for_people(self) -> Self {
        Self {
            audience: Audience::People,
            ..self
        }
    }

    /// Only in the forms for programs: what would make the table too wide.
    pub(crate) const fn for_programs(key: &'static str) -> Self {
        Self {
            audience: Audience::Programs,
            ..Self::text(key, "")
        }
    }
}

/// One cell: what people read and what programs read.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    value: Value,
}

impl Cell {
    /// Reads as `text` and is `value`.
    pub(crate) fn new(text: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            text: text.into(),
            value: value.into(),
        }
    }

    /// The same for both.
    pub(crate) fn plain(value: impl Into<Value>) -> Self {
        let value = value.into();
        Self {
            text: plain_text(&value),
            value,
        }
    }

    /// Unknown: a dash for people, null for programs.
    pub(crate) fn empty() -> Self {
        Self::new("–", Value::Null)
    }

    /// For people only.
    pub(crate) fn people(text: impl Into<String>) -> Self {
        Self::new(text, Value::Null)
    }
}

impl<T: Into<Value>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::empty, Self::plain)
    }
}

/// A text as a terminal may have it: names and reasons come from other machines, and what controls a
/// terminal is nobody's name.
fn printable(text: &str) -> String {
    let shown = |it: char| match it.is_control() && it != '\n' {
        true => char::REPLACEMENT_CHARACTER,
        false => it,
    };
    text.chars().map(shown).collect()
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows with columns.
pub(crate) struct Listing {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Listing {
    /// An empty listing.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for every column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Writes it in one of the forms; `width` is that of the terminal.
    pub(crate) fn render(&self, format: Format, width: usize) -> anyhow::Result<String> {
        match format {
            Format::Table => Ok(self.table(width)),
            Format::Json => self.json(),
            Format::Csv => self.csv(),
        }
    }

    fn table(&self, width: usize) -> String {
        let shown = self.indices(Audience::People);
        let mut table = Table::new();
        table
            .load_style(STYLE)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX))
            .set_header(shown.iter().map(|&index| self.columns[index].title));
        for row in &self.rows {
            table.add_row(shown.iter().map(|&index| printable(&row[index].text)));
        }
        for (position, &index) in shown.iter().enumerate() {
            if self.columns[index].right
                && let Some(column) = table.column_mut(position)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt() + "\n"
    }

    fn json(&self) -> anyhow::Result<String> {
        let shown = self.indices(Audience::Programs);
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                shown
                    .iter()
                    .map(|&index| (self.columns[index].key.to_owned(), row[index].value.clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        Ok(serde_json::to_string_pretty(&rows)? + "\n")
    }

    fn csv(&self) -> anyhow::Result<String> {
        let shown = self.indices(Audience::Programs);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(shown.iter().map(|&index| self.columns[index].key))?;
        for row in &self.rows {
            writer.write_record(shown.iter().map(|&index| plain_text(&row[index].value)))?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    fn indices(&self, audience: Audience) -> Vec<usize> {
        (0..self.columns.len())
            .filter(|&index| {
                let meant = self.columns[index].audience;
                meant == Audience::Everyone || meant == audience
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let mut listing = Listing::new(&[
            Column::text("name", "name"),
            Column::number("bytes", "size"),
            Column::for_programs("low"),
            Column::text("note", "note").for_people(),
        ]);
        listing.row(vec![
            Cell::plain("a, \"b\""),
            Cell::new("1.5 MB", 1_500_000),
            Cell::plain(0.25),
            Cell::people("best"),
        ]);
        listing.row(vec![
            Cell::plain("c"),
            Cell::empty(),
            Cell::empty(),
            Cell::people(""),
        ]);
        listing
    }

    #[test]
    fn nothing_in_a_table_controls_a_terminal() {
        let mut listing = Listing::new(&[Column::text("name", "name")]);
        listing.row(vec![Cell::plain("board\u{1b}[2J\u{9b}31m\u{7}")]);
        let table = listing.render(Format::Table, 60).unwrap();
        assert!(
            table.contains("board\u{fffd}[2J\u{fffd}31m\u{fffd}"),
            "{table:?}"
        );
        let json = listing.render(Format::Json, 60).unwrap();
        assert!(json.contains("\\u001b"), "{json}");
    }

    #[test]
    fn people_and_programs_get_their_own_columns() {
        let listing = listing();
        insta::assert_snapshot!(listing.render(Format::Table, 60).unwrap());
        insta::assert_snapshot!(listing.render(Format::Csv, 60).unwrap(), @r#"
        name,bytes,low
        "a, ""b""",1500000,0.25
        c,,
        "#);
        let json: Value = serde_json::from_str(&listing.render(Format::Json, 60).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"name": "a, \"b\"", "bytes": 1_500_000, "low": 0.25},
                {"name": "c", "bytes": null, "low": null},
            ])
        );
    }
}
