// Applies the user's choice of theme before the first paint.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
