"""The canvas, the sliders and the shell of the page in the browser: HTML and JavaScript, read as they lie here."""
