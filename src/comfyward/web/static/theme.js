// Before anything is painted: the reader's own choice of light or dark, where there is one.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
