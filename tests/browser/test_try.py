import time
def test_a(lab):
    t=time.time()
    i=lab.cell("ex = aw.explore(model); ex")
    print("cell",time.time()-t)
    w=lab.widget(i); w.wait_for(); print(w.get_attribute("data-ready"), w.get_attribute("data-live"))
    print(lab.python("ex.selected"), lab.sources()); t=time.time()
    lab.page.screenshot(path="/tmp/aw/bt/lab.png"); print(time.time()-t)
def test_b(notebook7):
    lab=notebook7
    i=lab.cell("ex = aw.explore(model); ex")
    w=lab.widget(i); w.wait_for(); print(w.get_attribute("data-ready"), w.get_attribute("data-live"))
    print(lab.python("ex.selected"), lab.sources())
    lab.page.screenshot(path="/tmp/aw/bt/nb7.png")
    assert w.count()
def test_c(notebook7): 
    lab=notebook7
    i=lab.cell("print(1)"); assert lab.printed(i)=="1\n"
