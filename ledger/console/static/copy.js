// Buttons that copy: what an element holds, or the page's address.
for (const button of document.querySelectorAll("[data-copy], [data-copy-address]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  const done = `${button.textContent} ✓`;
  const before = button.textContent;
  button.addEventListener("click", async () => {
    const text = button.dataset.copy ? document.querySelector(button.dataset.copy).textContent : location.href;
    await navigator.clipboard.writeText(text);
    button.textContent = done;
    setTimeout(() => (button.textContent = before), 1500);
  });
}
