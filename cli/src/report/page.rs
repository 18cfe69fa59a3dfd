//! The frame around the sections.

/// Text that cannot end the element or attribute that it stands in.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The whole page.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\
         </main>\n</body>\n</html>\n"
    )
}

/// A section with its heading.
pub(super) fn section(heading: &str, body: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n{body}</section>\n",
        escape(heading)
    )
}

/// A picture with what it shows.
pub(super) fn figure(svg: &str, caption: &str) -> String {
    format!(
        "<figure><div class=\"picture\">{svg}</div><figcaption>{}</figcaption></figure>\n",
        escape(caption)
    )
}

/// Pairs of a word and what it means.
pub(super) fn facts(pairs: &[(&str, String)]) -> String {
    let rows: String = pairs
        .iter()
        .map(|(word, meaning)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(word), escape(meaning)))
        .collect();
    format!("<dl>\n{rows}</dl>\n")
}

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1c2733; --soft: #5b6876; --page: #ffffff;
  --card: #f4f6f9; --edge: #dde3ea; --grid: #e4e9ef; --accent: #1f6fc0; --knee: #c42d66; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e9f0; --soft: #9aa8b7; --page: #12171d;
  --card: #1b222b; --edge: #2d3844; --grid: #2a343f; --accent: #6cb2f7; --knee: #f27ba4; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.5;
  font-family: system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-top: .6rem; border-top: 1px solid var(--edge); }
p { margin: .5rem 0; }
.soft, figcaption, dt { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem;
  padding: .8rem 1rem; }
.card h3 { margin: 0; font-size: .85rem; font-weight: 600; color: var(--soft); }
.card .figure { font-size: 1.5rem; font-weight: 650; color: var(--accent); }
.card.knee .figure { color: var(--knee); }
.card ul { margin: .2rem 0 0; padding: 0; list-style: none; font-size: .9rem; }
figure { margin: 1rem 0 1.8rem; }
.picture { overflow-x: auto; }
.picture svg { display: block; width: 100%; min-width: 36rem; height: auto; color: var(--text); }
figcaption { font-size: .9rem; margin-top: .3rem; }
.scroll { overflow-x: auto; border: 1px solid var(--edge); border-radius: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .84rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
thead th { color: var(--soft); font-weight: 600; background: var(--card); }
tbody tr { border-top: 1px solid var(--edge); }
tr.front td:first-child { font-weight: 650; }
tr.knee td:first-child { color: var(--knee); }
tr.off { color: var(--soft); }
.interval { color: var(--soft); font-size: .92em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .6rem 0; }
dt, dd { margin: 0; } dd { overflow-wrap: anywhere; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
details { margin: .8rem 0; } summary { cursor: pointer; }
pre { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: .8rem;
  overflow-x: auto; font-size: .8rem; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escape("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }
}
