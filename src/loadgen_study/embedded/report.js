// Marks in the contents the section that is read, and opens what is folded for a printer.
const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
const seen = new Set();
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const id = entry.target.getAttribute("aria-labelledby");
    entry.isIntersecting ? seen.add(id) : seen.delete(id);
  }
  const here = [...links.keys()].find(id => seen.has(id));
  for (const [id, link] of links) {
    id === here ? link.setAttribute("aria-current", "location") : link.removeAttribute("aria-current");
  }
  // On a phone the contents are one line.
  if (here) document.querySelector("nav > ol").scrollTo({ left: links.get(here).offsetLeft - 60 });
}, { rootMargin: "-10% 0px -70% 0px" });
document.querySelectorAll("section").forEach(section => observer.observe(section));
const folded = document.querySelectorAll("details:not([open])");
matchMedia("print").addEventListener("change", event => folded.forEach(one => { one.open = event.matches; }));
// A command is copied by a button; without scripts there is none.
for (const code of document.querySelectorAll("pre > code")) {
  const button = Object.assign(document.createElement("button"), { className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.parentElement.prepend(button);
}
