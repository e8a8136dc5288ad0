// the sidebar shows where one is; a click enlarges a picture; printed sentences wrap, printed tables scroll
document.addEventListener('DOMContentLoaded', () => {
  const here = document.querySelector('.sidebar-tree li.current-page > a')
  const box = document.querySelector('.sidebar-scroll')
  if (here && box) box.scrollTop = here.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3
  for (const img of document.querySelectorAll('article .cell_output img')) img.onclick = () => open(img.src)
  for (const pre of document.querySelectorAll('article .cell_output pre')) {
    const long = pre.innerText.split('\n').filter(l => l.trim().length > 90)
    if (long.length && !long.some(l => /\S  +\S/.test(l))) pre.classList.add('prose')
  }
})
