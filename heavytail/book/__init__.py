"""From verdicts to pages: chapters, figures and the site. Not part of the wheel."""
