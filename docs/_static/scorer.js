// how-to pages before modules, modules before chapters and lists; functions before methods of the same name
var Scorer = {
  score: ([page, title, anchor, what, score]) => {
    if (/^(api|genindex|pages\/(changelog|references|results|speed|glossary))/.test(page)) return score - 6
    if (page.startsWith('pages/')) return score + 6
    return score - (page.startsWith('chapters/') ? 4 : 0) - (/method|attribute/.test(what) ? 2 : 0)
  },
  objNameMatch: 20, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
}
