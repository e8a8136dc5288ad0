// the sidebar shows where one is; pictures open in full size; printed sentences wrap, printed tables scroll;
// what scrolls can be reached by the keyboard; search results have excerpts
document.addEventListener('DOMContentLoaded', () => {
  const all = (selector, on = document) => [...on.querySelectorAll(selector)]
  const here = document.querySelector('.sidebar-tree li.current-page > a')
  const box = document.querySelector('.sidebar-scroll')
  if (here && box) box.scrollTop = here.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3

  for (const img of all('article img')) if (!img.closest('a')) {
    const a = document.createElement('a')
    Object.assign(a, {href: img.src, className: 'enlarge', title: 'Open the picture in full size'})
    img.replaceWith(a)
    a.append(img)
  }
  for (const pre of all('article .cell_output pre')) {
    const long = pre.innerText.split('\n').filter(l => l.trim().length > 90)
    if (long.length && !long.some(l => /\S  +\S/.test(l))) pre.classList.add('prose')
  }

  for (const p of all('p.caption[role="heading"]')) p.setAttribute('aria-level', 2)
  document.querySelector('.sidebar-drawer')?.setAttribute('aria-label', 'All pages')
  document.querySelector('.toc-drawer')?.setAttribute('aria-label', 'On this page')
  for (const th of all('th:empty, th.blank')) th.outerHTML = th.outerHTML.replace(/^<th/, '<td').replace(/th>$/, 'td>')
  const reachable = () => {
    for (const e of all('article pre, article .cell_output, article div.math, article span.math, article table.docutils, .table-wrapper'))
      if (e.scrollWidth > e.clientWidth + 1) e.tabIndex = 0
  }
  reachable()
  addEventListener('resize', reachable)

  const results = document.getElementById('search-results')
  if (!results || typeof EXCERPTS == 'undefined') return
  const terms = (new URLSearchParams(location.search).get('q') || '').toLowerCase().split(/[^\p{L}\p{N}_-]+/u).filter(t => t.length > 1)
  if (!terms.length) return
  const first = (text) => Math.min(...terms.map(t => text.toLowerCase().indexOf(t)).filter(i => i >= 0))
  const excerpt = (page, anchor) => {
    const sections = EXCERPTS[page] || []
    const found = sections.find(s => s[0] == anchor) || sections.find(s => isFinite(first(s[2]))) || sections[0]
    if (!found) return
    const at = isFinite(first(found[2])) ? Math.max(0, found[2].lastIndexOf(' ', Math.max(0, first(found[2]) - 60)) + 1) : 0
    const text = found[2].slice(at, at + 220).replace(/\s\S*$/, '')
    if (!text) return
    const p = Object.assign(document.createElement('p'), {className: 'context'})
    const marked = new RegExp('(' + terms.map(t => t.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|') + ')', 'gi')
    for (const part of ((at ? '… ' : '') + text + ' …').split(marked))
      p.append(terms.includes(part.toLowerCase()) ? Object.assign(document.createElement('mark'), {textContent: part}) : part)
    return p
  }
  const seen = new Set()
  new MutationObserver(changes => {
    for (const li of changes.flatMap(c => [...c.addedNodes])) {
      const a = li.nodeName == 'LI' && li.querySelector('a')
      if (!a) continue
      const root = new URL(document.documentElement.dataset.content_root || './', location.href)
      const [page, anchor] = decodeURI(a.href).slice(decodeURI(root.href).length).split('#')
      if (seen.has(page + a.textContent)) { li.remove(); continue } // a title and a keyword of one page
      seen.add(page + a.textContent)
      const p = excerpt(page.replace(/\.html$/, ''), anchor)
      if (p) li.append(p)
    }
  }).observe(results, {childList: true, subtree: true})
})
